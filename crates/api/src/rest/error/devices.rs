//! The errors of devices and of their registration.

use fleetlog_aggregates::device;
use fleetlog_engine::devices::credentials::issue::Credential;
use fleetlog_engine::devices::registration;
use fleetlog_engine::simulations;
use fleetlog_event_log::control::ExecuteError;
use fleetlog_projections::devices::Device;
use http::StatusCode;

use super::Error;

impl From<registration::Refused> for Error {
    fn from(refused: registration::Refused) -> Self {
        match refused {
            registration::Refused::Full => {
                Self::conflict("device_limit", "the tenant has as many devices as it may have")
            }
            registration::Refused::Execute(error) => error.into(),
        }
    }
}

impl From<simulations::Error> for Error {
    fn from(error: simulations::Error) -> Self {
        use simulations::Error as Refused;
        match error {
            Refused::Off => Self::conflict("simulations_off", error.to_string()),
            Refused::Full => Self::conflict("too_many_simulations", error.to_string()),
            Refused::Names => Self::conflict("names_taken", error.to_string()),
            Refused::Unknown => Self::missing::<simulations::Simulation>(),
            Refused::Registration(refused) => refused.into(),
            Refused::Device(error) => error.into(),
            Refused::Log(error) => error.into(),
        }
    }
}

impl From<ExecuteError<device::Error>> for Error {
    fn from(error: ExecuteError<device::Error>) -> Self {
        match error {
            ExecuteError::Refused(refused) => refused.into(),
            ExecuteError::Conflict => Self::changing(),
            ExecuteError::Log(error) => error.into(),
        }
    }
}

impl Error {
    /// 409: other requests keep changing the same resource.
    pub(super) fn changing() -> Self {
        Self::conflict("conflict", "others keep changing this; try again").soon()
    }
}

impl From<device::Error> for Error {
    fn from(error: device::Error) -> Self {
        let detail = error.to_string();
        match error {
            device::Error::AlreadyRegistered => Self::conflict("already_registered", detail),
            device::Error::Decommissioned => Self::conflict("decommissioned", detail),
            device::Error::NotRegistered => Self::missing::<Device>(),
            device::Error::TooManyCredentials => Self::conflict("too_many_credentials", detail),
            device::Error::UnknownCredential => Self::missing::<Credential>(),
            device::Error::Invalid(_) | device::Error::AlreadyExpired | device::Error::BadCertificate(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
            }
        }
    }
}
