//! Figures of a tier as text.

use super::TierStats;
use std::fmt::Write;

impl TierStats {
    /// Name, Prometheus kind and value of each figure, in a fixed order; `hears` and `failing` are 1 when they hold.
    pub fn figures(&self) -> Vec<(&'static str, &'static str, u64)> {
        let TierStats {
            unsent_keys,
            unsent_bytes,
            unsent_for,
            unsent_deletes,
            sent_keys,
            batches,
            fetches,
            hears,
            failures,
            failing,
        } = self;
        let unsent_for_ms = u64::try_from(unsent_for.as_millis()).unwrap_or(u64::MAX);
        vec![
            ("unsent_keys", "gauge", *unsent_keys),
            ("unsent_bytes", "gauge", *unsent_bytes),
            ("unsent_for_ms", "gauge", unsent_for_ms),
            ("unsent_deletes", "gauge", *unsent_deletes),
            ("sent_keys", "counter", *sent_keys),
            ("batches", "counter", *batches),
            ("fetches", "counter", *fetches),
            ("hears", "gauge", u64::from(*hears)),
            ("failures", "counter", *failures),
            ("failing", "gauge", u64::from(failing.is_some())),
        ]
    }

    /// One JSON object of the figures; `hears` is true or false, and `failing` the reason or null.
    pub fn to_json(&self) -> String {
        let mut fields = serde_json::Map::new();
        for (name, _, value) in self.figures() {
            fields.insert(name.into(), value.into());
        }
        fields.insert("hears".into(), self.hears.into());
        fields.insert("failing".into(), self.failing.clone().into());
        serde_json::Value::Object(fields).to_string()
    }

    /// Prometheus text format, names beginning with `kv_tier_`.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for (name, kind, value) in self.figures() {
            let suffix = if kind == "counter" { "_total" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# TYPE kv_tier_{name}{suffix} {kind}\nkv_tier_{name}{suffix} {value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn figures_have_one_name_in_each_text() {
        let stats = TierStats {
            unsent_keys: 3,
            unsent_for: Duration::from_millis(1500),
            hears: true,
            failures: 2,
            failing: Some("PING: \"no\"".into()),
            ..TierStats::default()
        };
        let json: serde_json::Value = serde_json::from_str(&stats.to_json()).unwrap();
        assert_eq!((json["unsent_keys"].as_u64(), json["unsent_for_ms"].as_u64()), (Some(3), Some(1500)));
        assert_eq!((json["hears"].as_bool(), json["failing"].as_str()), (Some(true), Some("PING: \"no\"")));
        assert_eq!(json.as_object().unwrap().len(), stats.figures().len());
        let text = stats.to_prometheus();
        for line in
            ["kv_tier_unsent_for_ms 1500", "kv_tier_hears 1", "kv_tier_failures_total 2", "kv_tier_failing 1"]
        {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        let healthy = TierStats::default().to_json();
        assert!(healthy.contains("\"failing\":null"), "{healthy}");
    }
}
