#pragma once
// The metrics that every storage engine has: one set of names, so that engines can be compared. An engine adds those of
// its own kind under "storage_<what>_<unit>". Latencies are histograms in nanoseconds.

#include "streambus/plugin/host.hpp"

namespace streambus {

/// Registered under the instance's name. An engine touches those that mean something in it.
struct StorageMetrics {
  explicit StorageMetrics(Host& host) noexcept
      : appends(host.metric(MetricKind::counter, "storage_appends_total", "Record batches appended")),
        append_bytes(host.metric(MetricKind::counter, "storage_append_bytes_total", "Bytes of record batches appended")),
        append_ns(host.metric(MetricKind::histogram, "storage_append_nanoseconds", "Time of append calls")),
        fsync_ns(host.metric(MetricKind::histogram, "storage_fsync_nanoseconds", "Time of syncs of stored batches")),
        flushed_batches(host.metric(MetricKind::histogram, "storage_group_commit_batches",
                                    "Record batches made durable by one group commit")),
        segments(host.metric(MetricKind::gauge, "storage_segments", "Segments of open partitions")),
        stored_bytes(host.metric(MetricKind::gauge, "storage_bytes", "Bytes of record batches in open partitions")),
        recovery_ns(host.metric(MetricKind::histogram, "storage_recovery_nanoseconds", "Time of opening a partition")),
        recovery_cut_bytes(
            host.metric(MetricKind::counter, "storage_recovery_cut_bytes_total", "Bytes of torn tails cut while opening")),
        removed_bytes(host.metric(MetricKind::counter, "storage_removed_bytes_total",
                                  "Bytes of batches removed by retention, deletion and eviction")),
        replaced_bytes(host.metric(MetricKind::counter, "storage_replaced_bytes_total",
                                   "Bytes of batches that compaction put others for")),
        failures(host.metric(MetricKind::counter, "storage_failures_total", "Partitions taken offline by a storage failure")) {}

  Metric& appends;
  Metric& append_bytes;
  Metric& append_ns;
  Metric& fsync_ns;
  Metric& flushed_batches;
  Metric& segments;
  Metric& stored_bytes;
  Metric& recovery_ns;
  Metric& recovery_cut_bytes;
  Metric& removed_bytes;
  Metric& replaced_bytes;
  Metric& failures;
};

/// Observes the time from construction to destruction.
class MetricTimer {
 public:
  MetricTimer(Host& host, Metric& histogram) noexcept : host_(host), histogram_(histogram), begin_(host.monotonic_ns()) {}
  MetricTimer(const MetricTimer&) = delete;
  MetricTimer& operator=(const MetricTimer&) = delete;
  ~MetricTimer() { histogram_.add(host_.monotonic_ns() - begin_); }

 private:
  Host& host_;
  Metric& histogram_;
  const std::int64_t begin_;
};

}  // namespace streambus
