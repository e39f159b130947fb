//! Metrics in the text format of Prometheus, version 0.0.4: names and units as OpenTelemetry's compatibility
//! specification maps them. Labels are sorted, so that two scrapes of one state are the same bytes.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write as _};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};

/// The whole page.
pub(super) fn text(read: &ResourceMetrics) -> String {
    let mut page = String::new();
    let metrics = read.scope_metrics().flat_map(|scope| scope.metrics());
    for metric in metrics {
        // A `String` takes whatever is written to it.
        write_metric(&mut page, metric).unwrap_or_default();
    }
    page
}

fn write_metric(page: &mut String, metric: &Metric) -> std::fmt::Result {
    match metric.data() {
        AggregatedMetrics::F64(data) => write_data(page, metric, data),
        AggregatedMetrics::U64(data) => write_data(page, metric, data),
        AggregatedMetrics::I64(data) => write_data(page, metric, data),
    }
}

fn write_data<T: Copy + Display>(
    page: &mut String,
    metric: &Metric,
    data: &MetricData<T>,
) -> std::fmt::Result {
    let mut name = base_name(metric);
    match data {
        MetricData::Gauge(gauge) => {
            head(page, &name, metric, "gauge")?;
            for point in gauge.data_points() {
                sample(page, &name, "", &labels(point.attributes()), point.value())?;
            }
        }
        MetricData::Sum(sum) => {
            let kind = if sum.is_monotonic() { "counter" } else { "gauge" };
            if sum.is_monotonic() {
                name.push_str("_total");
            }
            head(page, &name, metric, kind)?;
            for point in sum.data_points() {
                sample(page, &name, "", &labels(point.attributes()), point.value())?;
            }
        }
        MetricData::Histogram(histogram) => {
            head(page, &name, metric, "histogram")?;
            for point in histogram.data_points() {
                let labels = labels(point.attributes());
                let ends = point.bounds().map(|end| end.to_string());
                let ends = ends.chain(std::iter::once("+Inf".to_owned()));
                let mut below = 0_u64;
                for (end, count) in ends.zip(point.bucket_counts()) {
                    below = below.saturating_add(count);
                    let mut labels = labels.clone();
                    labels.push(format!("le=\"{end}\""));
                    sample(page, &name, "_bucket", &labels, below)?;
                }
                sample(page, &name, "_sum", &labels, point.sum())?;
                sample(page, &name, "_count", &labels, point.count())?;
            }
        }
        // No instrument asks for one, and the text format cannot show one.
        MetricData::ExponentialHistogram(_) => {}
    }
    Ok(())
}

/// Underscores for points, and the unit at the end.
fn base_name(metric: &Metric) -> String {
    let mut name = metric.name().replace('.', "_");
    match metric.unit() {
        "s" => name.push_str("_seconds"),
        "By" => name.push_str("_bytes"),
        _ => {}
    }
    name
}

fn head(page: &mut String, name: &str, metric: &Metric, kind: &str) -> std::fmt::Result {
    writeln!(page, "# HELP {name} {}", escaped(metric.description()))?;
    writeln!(page, "# TYPE {name} {kind}")
}

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> Vec<String> {
    let mut labels: Vec<String> = attributes
        .map(|attribute| {
            let key = attribute.key.as_str().replace('.', "_");
            let value = attribute.value.as_str();
            format!("{key}=\"{}\"", escaped(&value).replace('"', "\\\""))
        })
        .collect();
    labels.sort();
    labels
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn sample(
    page: &mut String,
    name: &str,
    suffix: &str,
    labels: &[String],
    value: impl Display,
) -> std::fmt::Result {
    if labels.is_empty() {
        writeln!(page, "{name}{suffix} {value}")
    } else {
        writeln!(page, "{name}{suffix}{{{}}} {value}", labels.join(","))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::http::Method;
    use gateway_api::error::ErrorCode;

    use crate::limits;
    use crate::metrics::{Metrics, method_name};

    fn metrics() -> Metrics {
        Metrics::new(&telemetry::Exports::off().unwrap())
    }

    #[test]
    fn counter_histogram_and_gauge_are_written_as_prometheus_reads_them() {
        let metrics = metrics();
        metrics.accept(2);
        metrics.refuse(ErrorCode::SharingDenied);
        metrics.commit(3, Duration::from_millis(2));
        metrics.request(
            "POST",
            metrics.route_name(Some("/v1/blobs/{digest}")),
            201,
            Duration::from_secs(3),
        );
        let text = metrics.text();
        for line in [
            "# TYPE sealgate_stories_accepted_total counter",
            "sealgate_stories_accepted_total 2",
            "sealgate_stories_refused_total{reason=\"sharing-denied\"} 1",
            "# TYPE sealgate_commit_stories histogram",
            "sealgate_commit_stories_bucket{le=\"2\"} 0",
            "sealgate_commit_stories_bucket{le=\"4\"} 1",
            "sealgate_commit_stories_bucket{le=\"+Inf\"} 1",
            "sealgate_commit_duration_seconds_bucket{le=\"0.001\"} 0",
            "sealgate_commit_duration_seconds_bucket{le=\"0.0025\"} 1",
            "sealgate_commit_duration_seconds_count 1",
            "sealgate_http_request_duration_seconds_sum{method=\"POST\",route=\"/v1/blobs/{digest}\",status=\"201\"} 3",
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\n{text}");
        }
    }

    /// A label has a fixed set of values; if one had not, memory and page would stay bounded all the same.
    #[test]
    fn series_of_a_metric_are_bounded() {
        let metrics = metrics();
        for number in 0..limits::SERIES_PER_METRIC_MAX * 2 {
            let route = metrics.route_name(Some(&format!("/{number}")));
            metrics.request("GET", route, 200, Duration::ZERO);
        }
        let text = metrics.text();
        let series = text
            .lines()
            .filter(|line| line.starts_with("sealgate_http_request_duration_seconds_count"))
            .count();
        assert!(series <= limits::SERIES_PER_METRIC_MAX + 1, "{series}");
        assert!(text.contains("otel_metric_overflow=\"true\""));
    }

    #[test]
    fn method_of_a_strangers_making_is_no_label() {
        let metrics = metrics();
        let method = Method::from_bytes(b"ALICE").unwrap();
        metrics.request(
            method_name(&method),
            metrics.route_name(None),
            404,
            Duration::ZERO,
        );
        let text = metrics.text();
        assert!(!text.contains("ALICE"));
        assert!(text.contains("method=\"other\",route=\"-\",status=\"404\""));
    }
}
