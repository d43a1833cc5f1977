//! argon2id, in memory that goes back to the system after each hash.
//!
//! Left to itself, the allocator keeps what a hash has used: glibc for every thread that has ever hashed, hundreds of
//! megabytes after some dozen logins.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, CustomizedPasswordHasher, PasswordHasher};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Room for more than 32 MiB: what is larger than that glibc has the system give and take back, each time
/// (`DEFAULT_MMAP_THRESHOLD_MAX`). What is not written to takes no memory.
const GIVEN_BACK: usize = (33 << 20) / Block::SIZE;

/// Hashes with argon2id, and checks whatever argon2 has hashed.
pub(super) struct Hasher;

impl PasswordHasher<PasswordHash> for Hasher {
    fn hash_password_with_salt(&self, password: &[u8], salt: &[u8]) -> password_hash::Result<PasswordHash> {
        // Pinned here, whatever the crate's defaults become.
        const PARAMS: Params = match Params::new(19 * 1024, 2, 1, None) {
            Ok(params) => params,
            Err(_) => panic!("the parameters are in range"),
        };
        hash(password, salt, Algorithm::Argon2id, Version::V0x13, PARAMS)
    }
}

impl CustomizedPasswordHasher<PasswordHash> for Hasher {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<password_hash::Version>,
        params: Params,
    ) -> password_hash::Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or(Algorithm::Argon2id);
        let version = version.map(Version::try_from).transpose()?.unwrap_or(Version::V0x13);
        hash(password, salt, algorithm, version, params)
    }
}

fn hash(
    password: &[u8],
    salt: &[u8],
    algorithm: Algorithm,
    version: Version,
    params: Params,
) -> password_hash::Result<PasswordHash> {
    let blocks = params.block_count();
    let mut memory = Vec::with_capacity(blocks.max(GIVEN_BACK));
    memory.resize(blocks, Block::default());
    let mut output = vec![0; params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
    let words = ParamsString::try_from(&params)?;
    Argon2::new(algorithm, version, params).hash_password_into_with_memory(
        password,
        salt,
        &mut output,
        memory,
    )?;
    Ok(PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: words,
        salt: Some(Salt::new(salt)?),
        hash: Some(Output::new(&output)?),
    })
}
