//! The text of a policy: bounded before Cedar's parser reads it, whose recursion could use up the stack.

#![no_main]

use fleetlog_access::policy::source;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = source::check("mine", text);
});
