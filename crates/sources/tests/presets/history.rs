//! A definition that is corrected later: the record stays, and its metrics are derived anew.

use fleetlog_sources::{Aliases, Part, Remark};

use crate::{preset, real, simple};

fn values(rest: &str, payload: &str, part: Part) -> Vec<(String, f64)> {
    let metrics = simple(rest).metrics("x/d", payload.as_bytes(), part, &Aliases::default());
    metrics.values.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

#[test]
fn a_corrected_definition_puts_the_metrics_of_what_is_on_the_record_right() {
    let payload = r#"{"d":{"t":"21.5"},"junk":7}"#;
    assert_eq!(values("", payload, Part::WHOLE), [("junk".into(), 7.0)]);
    let corrected = r#","metrics":{"from":"$.d","quoted_numbers":true}"#;
    assert_eq!(values(corrected, payload, Part::WHOLE), [("t".into(), 21.5)]);
}

#[test]
fn a_message_that_was_recorded_as_one_reading_keeps_all_of_its_metrics() {
    let payload = r#"[{"a":1},{"a":2,"b":3}]"#;
    let each = r#","each":"$""#;
    assert_eq!(values(each, payload, Part::WHOLE), [("a".into(), 2.0), ("b".into(), 3.0)]);
    assert_eq!(values(each, payload, Part { nth: 1, of: 2 }), [("a".into(), 2.0), ("b".into(), 3.0)]);
    assert_eq!(values(each, payload, Part { nth: 0, of: 2 }), [("a".into(), 1.0)]);
    assert_eq!(values(each, payload, Part { nth: 5, of: 9 }), []);
}

#[test]
fn data_before_any_birth_says_that_its_aliases_have_no_names() {
    let (source, data) = (preset("sparkplug_b"), real("real-sparkplug-ndata.bin"));
    let topic = "spBv1.0/plant/NDATA/pump";
    let metrics = source.metrics(topic, &data, Part::WHOLE, &Aliases::default());
    assert!(metrics.values.is_empty());
    assert_eq!(metrics.remarks.iter().collect::<Vec<_>>(), [Remark::NoMetrics, Remark::UnknownAlias]);
    let mut aliases = Aliases::default();
    assert!(source.learn("spBv1.0/plant/NBIRTH/pump", &real("real-sparkplug-nbirth.bin"), &mut aliases));
    assert!(!source.learn(topic, &data, &mut aliases));
    assert_eq!(
        source.metrics(topic, &data, Part::WHOLE, &aliases).values,
        [("Pump/Temperature".into(), 71.5)]
    );
}
