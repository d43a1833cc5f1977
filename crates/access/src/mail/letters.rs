//! What the mails say. Nothing that their sender has typed is in those that go to strangers: whoever registers a stranger's
//! address does not get to write to that stranger. Mails about alarms go to users who have confirmed their address.
//!
//! Each token is a link's fragment, which browsers send to no server and which therefore is in no server's log.

use std::sync::Arc;

use http::Uri;

use super::Mail;
use crate::tokens::Token;
use crate::users::Email;

/// Writes the mails of a service that people reach at `base`. Cheap to clone.
#[derive(Clone)]
pub struct Letters {
    /// What links begin with, without a slash at its end.
    base: Arc<str>,
}

impl Letters {
    /// The letters of a service with this address. Without one, links lead to this machine.
    #[must_use]
    pub fn new(public_url: Option<&Uri>) -> Self {
        let text = public_url.map_or_else(|| "http://localhost:8080".to_owned(), Uri::to_string);
        Self { base: text.trim_end_matches('/').into() }
    }

    /// To whoever has registered, or wants another address: it is theirs once they say so.
    pub(crate) fn confirm_address(&self, to: &Email, token: &Token) -> Mail {
        let asks = "please confirm, within 7 days, that this is your address";
        self.with_token(to, "Please confirm your e-mail address", asks, "verify", "auth/verify", token)
    }

    /// To whoever cannot log in any more.
    pub(crate) fn reset_password(&self, to: &Email, token: &Token) -> Mail {
        let asks = "somebody, hopefully you, has asked for a new password for your account. Choose one within an hour";
        self.with_token(to, "Choose a new password", asks, "reset", "auth/password/reset", token)
    }

    /// To whoever an admin wants in.
    pub(crate) fn invite(&self, to: &Email, token: &Token) -> Mail {
        let asks = format!("you are invited to {}. Choose a password within 7 days", self.base);
        self.with_token(
            to,
            "You are invited to fleetlog",
            &asks,
            "invitation",
            "auth/invitation/accept",
            token,
        )
    }

    /// To whoever is in already, when somebody registers their address.
    pub(crate) fn taken(&self, to: &Email) -> Mail {
        let base = &self.base;
        let says = format!(
            "somebody, perhaps you, wants to register this address at {base}. It has an account already.\n\n\
             If that was you, log in; if you do not remember your password, ask for a new one:\n\n    \
             {base}/app/forgot\n\n\
             Without a browser, POST {base}/api/v1/auth/password/forgot does the same, with your address as email."
        );
        self.letter(to.as_str(), "You have an account already", &says, DO_NOTHING)
    }

    /// To the address that was an account's until now.
    pub(crate) fn address_changed(&self, old: &str) -> Mail {
        let says = format!("your account at {} has another e-mail address from now on.", self.base);
        self.letter(old, "Your e-mail address was changed", &says, TELL_ADMIN)
    }

    /// To whoever has another password from now on.
    pub(crate) fn password_changed(&self, to: &str) -> Mail {
        let says = format!("your account at {} has another password from now on.", self.base);
        self.letter(to, "Your password was changed", &says, TELL_ADMIN)
    }

    /// To the users whom an alarm rule names. `path` leads to the alarms.
    #[must_use]
    pub fn alarm(&self, to: &str, subject: &str, says: &str, path: &str) -> Mail {
        let base = &self.base;
        let body = format!("Hello,\n\n{says}\n\nGET {base}/api/v1{path} says more.\n\nfleetlog at {base}\n");
        Mail { recipient: to.to_owned(), subject: subject.to_owned(), body }
    }

    fn with_token(
        &self,
        to: &Email,
        subject: &str,
        asks: &str,
        page: &str,
        path: &str,
        token: &Token,
    ) -> Mail {
        let fields = if page == "verify" {
            "the token as token"
        } else {
            "the token as token and a new password as password"
        };
        let (base, token) = (&self.base, token.as_str());
        let says = format!(
            "{asks}:\n\n    {base}/app/{page}#token={token}\n\n\
             Without a browser, POST {base}/api/v1/{path} does the same, with {fields}. The token is what follows #token= above."
        );
        self.letter(to.as_str(), subject, &says, DO_NOTHING)
    }

    fn letter(&self, to: &str, subject: &str, says: &str, otherwise: &str) -> Mail {
        let body = format!("Hello,\n\n{says}\n\n{otherwise}\n\nfleetlog at {}\n", self.base);
        Mail { recipient: to.to_owned(), subject: subject.to_owned(), body }
    }
}

const DO_NOTHING: &str = "If you did not expect this, you need not do anything.";
const TELL_ADMIN: &str = "If that was not you, tell an administrator now.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_short_and_polite() {
        let uri: Uri = "https://fleet.example.com/".parse().expect("a URI");
        let (letters, to) = (Letters::new(Some(&uri)), Email::parse("jo@example.com").expect("an address"));
        let token = Token::new();
        let mail = letters.reset_password(&to, &token);
        assert_eq!(mail.recipient, "jo@example.com");
        insta::assert_snapshot!(mail.body.replace(token.as_str(), "TOKEN"), @r"
        Hello,

        somebody, hopefully you, has asked for a new password for your account. Choose one within an hour:

            https://fleet.example.com/app/reset#token=TOKEN

        Without a browser, POST https://fleet.example.com/api/v1/auth/password/reset does the same, with the token as token and a new password as password. The token is what follows #token= above.

        If you did not expect this, you need not do anything.

        fleetlog at https://fleet.example.com
        ");
        insta::assert_snapshot!(letters.taken(&to).body, @r"
        Hello,

        somebody, perhaps you, wants to register this address at https://fleet.example.com. It has an account already.

        If that was you, log in; if you do not remember your password, ask for a new one:

            https://fleet.example.com/app/forgot

        Without a browser, POST https://fleet.example.com/api/v1/auth/password/forgot does the same, with your address as email.

        If you did not expect this, you need not do anything.

        fleetlog at https://fleet.example.com
        ");
    }
}
