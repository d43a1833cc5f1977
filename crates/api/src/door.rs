//! The door: who may do what, and the only way to a tenant's log.
//!
//! A handler's first argument is its door: `May<DevicesRead>` for the tenant's things, `May<DevicesRead, Device>` for the
//! device that the path names, `May<TiersRead, Platform>` for the platform's. It answers 401 where the caller is not known,
//! and 403 where the caller may not do that, before the arguments behind it look at the rest of the request. It puts each
//! refusal on the record. Only an open door has a [`TenantLog`], so a request that was refused has nothing to read with.
//!
//! - [`guard`]: decisions that depend on a device's labels
//! - [`action`]: what a door says in the `OpenAPI` document

pub mod action;
pub mod guard;

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, RawPathParams};
use chrono::{DateTime, Utc};
use fleetlog_access::action::ActionType;
use fleetlog_access::principal::Oneself;
use fleetlog_access::{self as access, Action, Forbidden, Principal, Who, authorize};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_engine::commands;
use fleetlog_event_log::{EventLog, TenantLog};
use fleetlog_projections::devices::Device;
use http::request::Parts;

use self::guard::Refused;
use crate::app::App;
use crate::resource::Resource;
use crate::rest::Error;
use crate::rest::extract::Caller;

/// The log of all tenants. Only this module can open it, and then to one tenant's.
#[derive(Clone)]
pub(crate) struct Locked(EventLog);

impl Locked {
    /// The time, which is no tenant's.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
}

impl From<EventLog> for Locked {
    fn from(log: EventLog) -> Self {
        Self(log)
    }
}

/// What a door protects: the tenant's things, one of them, the platform's, or the caller's own user.
pub trait Target: 'static {
    /// Identifies the thing behind the door; `()` where there is only one.
    type Id: Send + Sync;

    /// Identifies the thing: by the first variable of the path, or as the caller's own user.
    fn named(path: Option<&str>, caller: &Principal) -> Result<Self::Id, Error>;

    /// Decides whether the caller may do `action`. `None`: the path holds no valid name.
    fn decide(
        caller: &Principal,
        log: &TenantLog,
        action: Action,
        id: Option<&Self::Id>,
    ) -> impl Future<Output = Result<(), Refused>> + Send;
}

/// The caller's tenant: for lists, and for creating things.
pub enum OwnTenant {}

impl Target for OwnTenant {
    type Id = ();

    fn named(_: Option<&str>, _: &Principal) -> Result<(), Error> {
        Ok(())
    }

    async fn decide(
        caller: &Principal,
        _: &TenantLog,
        action: Action,
        _: Option<&()>,
    ) -> Result<(), Refused> {
        Ok(authorize(caller, action, &access::Resource::Tenant(&caller.tenant))?)
    }
}

/// The platform, across tenants.
pub enum Platform {}

impl Target for Platform {
    type Id = ();

    fn named(_: Option<&str>, _: &Principal) -> Result<(), Error> {
        Ok(())
    }

    async fn decide(
        caller: &Principal,
        _: &TenantLog,
        action: Action,
        _: Option<&()>,
    ) -> Result<(), Refused> {
        Ok(authorize(caller, action, &access::Resource::Platform)?)
    }
}

/// The caller's own user. An API key has no user, so it is refused.
impl Target for Oneself {
    type Id = Self;

    fn named(_: Option<&str>, caller: &Principal) -> Result<Self, Error> {
        match caller.who {
            Who::User { user_id, session_id, .. } => {
                Ok(Self { tenant: caller.tenant.clone(), user_id, session_id })
            }
            Who::Key { .. } => Err(Error::needs_user()),
        }
    }

    async fn decide(
        caller: &Principal,
        _: &TenantLog,
        action: Action,
        id: Option<&Self>,
    ) -> Result<(), Refused> {
        authorize(caller, action, &access::Resource::Tenant(&caller.tenant))?;
        Ok(id.map(drop).ok_or(Forbidden(action))?)
    }
}

impl<R: Resource> Target for R {
    type Id = R::Id;

    fn named(path: Option<&str>, _: &Principal) -> Result<R::Id, Error> {
        path.and_then(R::id).ok_or_else(Error::missing::<R>)
    }

    async fn decide(
        caller: &Principal,
        log: &TenantLog,
        action: Action,
        id: Option<&R::Id>,
    ) -> Result<(), Refused> {
        match id {
            Some(id) => R::decide(caller, log, action, id).await,
            None => Ok(authorize(caller, action, &R::all(caller))?),
        }
    }
}

/// A door that is open: the caller may do `A` to `T`.
pub struct May<A, T: Target = OwnTenant> {
    /// What every handler shares.
    pub app: App,
    /// Who is calling.
    pub caller: Principal,
    /// Identifies the thing of kind `T` that the request names.
    pub id: T::Id,
    log: TenantLog,
    action: PhantomData<fn() -> A>,
}

/// A door that is still shut, because the decision depends on the body: the handler reads the body first, and then
/// opens the door.
pub struct Knock<A, T: Target = OwnTenant> {
    app: App,
    caller: Principal,
    id: Result<T::Id, Error>,
    log: TenantLog,
    action: PhantomData<fn() -> A>,
}

impl<A: ActionType, T: Target> FromRequestParts<App> for Knock<A, T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let Caller(caller) = Caller::from_request_parts(parts, app).await?;
        let path = RawPathParams::from_request_parts(parts, app).await.ok();
        let first = path.as_ref().and_then(|path| path.iter().next()).map(|(_, name)| name);
        let (id, log) = (T::named(first, &caller), app.log.0.for_tenant(&caller.tenant));
        Ok(Self { app: app.clone(), caller, id, log, action: PhantomData })
    }
}

impl<A: ActionType, T: Target> FromRequestParts<App> for May<A, T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        Knock::<A, T>::from_request_parts(parts, app).await?.open().await
    }
}

impl<A: ActionType, T: Target> Knock<A, T> {
    /// Opens the door if the caller may do `A` to `T`.
    async fn open(self) -> Result<May<A, T>, Error> {
        let decided = T::decide(&self.caller, &self.log, A::ACTION, self.id.as_ref().ok()).await;
        self.opened(decided)
    }

    fn opened(self, decided: Result<(), Refused>) -> Result<May<A, T>, Error> {
        let Self { app, caller, id, log, action } = self;
        decided.map_err(|refused| refused.noted(&app, &caller))?;
        Ok(May { app, caller, id: id?, log, action })
    }
}

impl<A: ActionType> Knock<A> {
    /// Opens the door if the caller may do `A` with the command `cmd`. `None`: the request names no command.
    pub fn with_command(self, cmd: Option<&str>) -> Result<May<A>, Error> {
        let decided = guard::tenant(&self.caller, A::ACTION, cmd).map_err(Refused::from);
        self.opened(decided)
    }
}

impl<A: ActionType> Knock<A, Device> {
    /// Opens the door if the caller may do `A` to the device with the command `cmd`. `None`: the request names no
    /// command.
    pub async fn with_command(self, cmd: Option<&str>) -> Result<May<A, Device>, Error> {
        let decided = match &self.id {
            Ok(uid) => guard::command(&self.caller, &self.log, A::ACTION, cmd, uid).await,
            Err(_) => guard::tenant(&self.caller, A::ACTION, cmd).map_err(Refused::from),
        };
        self.opened(decided)
    }

    /// Opens the door if the caller may write the device with its new labels. `None`: the labels stay as they are.
    pub async fn with_labels(self, labels: Option<&Labels>) -> Result<May<A, Device>, Error> {
        let decided = match &self.id {
            Ok(uid) => guard::written(&self.caller, &self.log, A::ACTION, uid, labels).await,
            Err(_) => guard::tenant(&self.caller, A::ACTION, None).map_err(Refused::from),
        };
        self.opened(decided)
    }
}

impl<A: ActionType, T: Target> May<A, T> {
    /// The log of the caller's tenant.
    #[must_use]
    pub fn log(&self) -> &TenantLog {
        &self.log
    }

    /// Checks that the caller may also do `action`: to the tenant's things or, if it is done to the platform, to that.
    pub fn also(&self, action: Action) -> Result<(), Error> {
        let decided = if action.is_for_the_platform() {
            authorize(&self.caller, action, &access::Resource::Platform)
        } else {
            guard::tenant(&self.caller, action, None)
        };
        let decided = decided.map_err(Refused::from);
        decided.map_err(|refused| refused.noted(&self.app, &self.caller))
    }
}

impl<A: ActionType> May<A> {
    /// Opens the door for a caller who has come over a connection that stays open.
    pub async fn over_connection(app: App, caller: Principal) -> Result<Self, Error> {
        let log = app.log.0.for_tenant(&caller.tenant);
        Knock { app, caller, id: Ok(()), log, action: PhantomData }.open().await
    }

    /// Checks that the caller may write the device `uid` with these labels.
    pub async fn with_labels(&self, uid: &Uid, labels: &Labels) -> Result<(), Error> {
        let decided = guard::written(&self.caller, &self.log, A::ACTION, uid, Some(labels)).await;
        decided.map_err(|refused| refused.noted(&self.app, &self.caller))
    }

    /// Checks that the caller may do `A` with the command `cmd` to each of these devices. Returns the devices.
    pub async fn to_all(&self, cmd: Option<&str>, devices: Vec<Uid>) -> Result<Vec<Uid>, commands::Error> {
        let decided = guard::all(&self.caller, &self.log, A::ACTION, cmd, devices).await;
        decided.inspect_err(|error| {
            if let commands::Error::Forbidden(forbidden) = error {
                guard::note(&self.app, &self.caller, *forbidden);
            }
        })
    }
}

impl<A: ActionType> May<A, Oneself> {
    /// Opens the door to the caller's own user, for a caller who has logged in within this request.
    pub async fn after_login(app: App, caller: Principal) -> Result<Self, Error> {
        let (id, log) = (Oneself::named(None, &caller), app.log.0.for_tenant(&caller.tenant));
        Knock { app, caller, id, log, action: PhantomData }.open().await
    }
}
