//! What a person does to a page: with a mouse and a keyboard, as the browser gets it from them.

use serde_json::{Value, json};

use super::page::Page;
use crate::support::eventually;

const FIND: &str = include_str!("find.js");

/// An element: by a selector, and by what it says where one is given. If several are seen, it is the last, which is in front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'e> {
    css: &'e str,
    text: Option<&'e str>,
}

impl<'e> From<&'e str> for Element<'e> {
    fn from(css: &'e str) -> Self {
        Self { css, text: None }
    }
}

impl<'e> From<(&'e str, &'e str)> for Element<'e> {
    fn from((css, text): (&'e str, &'e str)) -> Self {
        Self { css, text: Some(text) }
    }
}

/// What a key is to the browser: its code there, its number, and what it writes.
struct Key {
    code: String,
    number: u32,
    text: Option<String>,
}

impl Key {
    fn of(name: &str) -> Self {
        let (code, number, text) = match name {
            "Enter" => (name.to_owned(), 13, Some("\r".to_owned())),
            "Tab" => (name.to_owned(), 9, None),
            "Escape" => (name.to_owned(), 27, None),
            "ArrowLeft" => (name.to_owned(), 37, None),
            "ArrowUp" => (name.to_owned(), 38, None),
            "ArrowRight" => (name.to_owned(), 39, None),
            "ArrowDown" => (name.to_owned(), 40, None),
            one => {
                let mut letters = one.chars();
                let (letter, rest) = (letters.next().expect("a key"), letters.next());
                assert_eq!(rest, None, "no key: {one}");
                let number = u32::from(letter.to_ascii_uppercase());
                (format!("Key{}", letter.to_ascii_uppercase()), number, Some(one.to_owned()))
            }
        };
        Self { code, number, text }
    }
}

impl Page {
    /// Clicks an element, once it is there and in reach.
    pub(crate) async fn click<'e>(&self, element: impl Into<Element<'e>>) {
        let place = self.find(element.into()).await;
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.mouse(kind, (&place["x"], &place["y"])).await;
        }
    }

    /// Writes into a field instead of what it has.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let select = "document.activeElement.select?.()";
        let script = format!("document.activeElement.matches({}) && ({select}, true)", json!(css));
        // A page that shows another meanwhile has taken the field with it.
        let filling = eventually(css, async || {
            self.click(css).await;
            if self.look(&script).await == true { Ok(()) } else { Err("it has no focus") }
        });
        self.in_time(css, filling).await;
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Chooses an option of a list by its value.
    pub(crate) async fn choose(&self, css: &str, value: &str) {
        self.find(css.into()).await;
        let (css, value) = (json!(css), json!(value));
        self.run(&format!(
            "(() => {{ const list = document.querySelector({css}); list.value = {value};
               list.dispatchEvent(new Event('change', {{ bubbles: true }})); return list.value }})()"
        ))
        .await;
    }

    /// Presses a key, such as `Enter`, `g`, `Control+k` or `Shift+Tab`.
    pub(crate) async fn press(&self, keys: &str) {
        let (held, name) = keys.rsplit_once('+').filter(|(held, _)| !held.is_empty()).unwrap_or(("", keys));
        let modifiers = match held {
            "" => 0,
            "Control" => 2,
            "Shift" => 8,
            held => panic!("no modifier: {held}"),
        };
        let key = Key::of(name);
        let mut event = json!({"key": name, "code": key.code, "windowsVirtualKeyCode": key.number, "modifiers": modifiers});
        if let Some(text) = key.text.filter(|_| modifiers == 0) {
            event["text"] = json!(text);
        }
        for kind in ["keyDown", "keyUp"] {
            event["type"] = json!(kind);
            self.call("Input.dispatchKeyEvent", event.clone()).await;
        }
    }

    /// Drags along the middle of an element, between two shares of its width.
    pub(crate) async fn drag<'e>(&self, element: impl Into<Element<'e>>, from: f64, to: f64) {
        let place = self.find(element.into()).await;
        let at = |share: f64| {
            let (left, width) = (place["left"].as_f64(), place["width"].as_f64());
            json!(left.expect("a number") + width.expect("a number") * share)
        };
        let (from, middle, to) = (at(from), at(f64::midpoint(from, to)), at(to));
        for (kind, x) in [
            ("mouseMoved", &from),
            ("mousePressed", &from),
            ("mouseMoved", &middle),
            ("mouseMoved", &to),
            ("mouseReleased", &to),
        ] {
            self.mouse(kind, (x, &place["y"])).await;
        }
    }

    async fn mouse(&self, kind: &str, (x, y): (&Value, &Value)) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let event = json!({"type": kind, "x": x, "y": y, "button": button, "buttons": 1, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", event).await;
    }

    /// Where an element is, once it is there and in reach.
    async fn find(&self, element: Element<'_>) -> Value {
        let script = format!("({FIND})({}, {})", json!(element.css), json!(element.text));
        let what = format!("{element:?}");
        let asking = eventually(&what, async || {
            let found = self.look(&script).await;
            if found.is_object() { Ok(found) } else { Err(found) }
        });
        self.in_time(&what, asking).await
    }
}
