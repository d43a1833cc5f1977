//! How the wrapper types of this crate are bound and read: as the type that they wrap, also in arrays.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

use crate::LogId;
use crate::event::Json;

macro_rules! as_what_it_wraps {
    ($wrapper:ident($inner:ty)) => {
        impl Type<Postgres> for $wrapper {
            fn type_info() -> PgTypeInfo {
                <$inner as Type<Postgres>>::type_info()
            }

            fn compatible(found: &PgTypeInfo) -> bool {
                <$inner as Type<Postgres>>::compatible(found)
            }
        }

        impl PgHasArrayType for $wrapper {
            fn array_type_info() -> PgTypeInfo {
                <$inner as PgHasArrayType>::array_type_info()
            }
        }

        impl Encode<'_, Postgres> for $wrapper {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                <$inner as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
            }

            fn size_hint(&self) -> usize {
                <$inner as Encode<'_, Postgres>>::size_hint(&self.0)
            }
        }

        impl Decode<'_, Postgres> for $wrapper {
            fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
                <$inner as Decode<'_, Postgres>>::decode(value).map(Self)
            }
        }
    };
}

as_what_it_wraps!(LogId(i32));
as_what_it_wraps!(Json(String));
