#include "fetcher.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wire_errors.hpp"

namespace streambus::client {
namespace {

using wire::WireError;

std::int64_t wanted_time(const StartAt& start) {
  switch (start.kind) {
    case StartAt::Kind::beginning:
      return -2;  // ListOffsets' own names for them
    case StartAt::Kind::end:
      return -1;
    default:
      return start.value;
  }
}

bool leader_is_wrong(WireError error) {
  return error == WireError::not_leader_or_follower || error == WireError::leader_not_available ||
         error == WireError::fenced_leader_epoch || error == WireError::unknown_leader_epoch;
}

/// Groups by topic: Message has topics of {name, partitions}. `each` makes a message's partition.
template <class Topic, class Partition, class Asked, class Each>
void group_by_topic(std::vector<Asked>& asked, std::vector<Topic>& topics, std::vector<Partition>& partitions, Each each) {
  std::ranges::stable_sort(asked, std::less{}, [](const Asked& one) -> const std::string& { return one.partition->topic; });
  partitions.resize(asked.size());
  std::size_t begin = 0;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    partitions[i] = each(asked[i]);
    const bool last = i + 1 == asked.size() || asked[i + 1].partition->topic != asked[i].partition->topic;
    if (!last) continue;
    topics.push_back({asked[i].partition->topic, std::span(partitions).subspan(begin, i + 1 - begin)});
    begin = i + 1;
  }
}

}  // namespace

Fetcher::Fetcher(Cluster& cluster, const ConsumerSettings& settings, FetchState& state, std::uint64_t seed)
    : cluster_(&cluster),
      loop_(&cluster.loop()),
      settings_(&settings),
      state_(&state),
      backoff_(cluster.settings().retry_backoff_ms, cluster.settings().retry_backoff_max_ms, seed),
      timer_(cluster.loop(), [this] { run(); }) {}

void Fetcher::run() {
  if (shut_) return;
  const std::int64_t now = loop_->now_ns();
  next_ns_ = kNever;
  {
    const std::lock_guard lock(state_->mutex);
    const std::size_t count = state_->partitions.size();
    if (count > 0) first_ = (first_ + 1) % count;
    for (std::size_t i = 0; i < count; ++i) consider(state_->partitions[(first_ + i) % count], now);
  }
  for (auto& [target, link] : links_) {
    if (!link.lookups.empty()) send_lookups(link, target);
    if (!link.fetches.empty()) send_fetch(link, target);
  }
  timer_.at(next_ns_);
}

/// Adds what the partition needs to its broker's next request. Under the lock.
void Fetcher::consider(const FetchPartitionRef& ref, std::int64_t now) {
  FetchPartition& partition = *ref;
  if (partition.error || partition.asking) return;
  if (!partition.start && state_->buffered_bytes > 0 &&
      state_->buffered_bytes + settings_->fetch_bytes_max > settings_->prefetch_bytes_max)
    return;
  // Nobody gets more than a fair share of the room, and everybody one chunk.
  const std::uint64_t share = settings_->prefetch_bytes_max / state_->partitions.size();
  if (!partition.start && partition.buffered_bytes > 0 &&
      partition.buffered_bytes + settings_->partition_fetch_bytes_max > share)
    return;
  if (partition.blocked_until_ns > now) {
    wake_at(partition.blocked_until_ns);
    return;
  }
  const std::string* const target = cluster_->leader_target(partition.topic, partition.id, nullptr);
  if (target == nullptr) {
    const TopicInfo* const topic = cluster_->find_topic(partition.topic);
    if (topic != nullptr && static_cast<std::size_t>(partition.id) >= topic->partitions.size()) {
      partition.error = Error(ErrorCode::not_found, fmt::format("topic '{}' has no partition {}: it has {}", partition.topic,
                                                                partition.id, topic->partitions.size()));
      state_->changed.notify_all();
      return;
    }
    refresh(partition.topic, now);
    return;
  }
  Link& link = links_[*target];
  if (link.channel && link.channel->closed()) {
    link.channel.reset();
    link.fetching = false;
  }
  if (!link.channel) {
    if (link.lending) return;
    if (link.blocked_until_ns > now) {
      wake_at(link.blocked_until_ns);
      return;
    }
    lend(*target, link);
    return;
  }
  Asked asked{ref, partition.generation, partition.fetch_from, partition.start.value_or(StartAt{})};
  if (partition.start) {
    link.lookups.push_back(std::move(asked));
  } else if (!link.fetching) {
    link.fetches.push_back(std::move(asked));
  } else {
    return;
  }
  partition.asking = true;
}

void Fetcher::lend(const std::string& target, Link& link) {
  link.lending = true;
  cluster_->pool().lend(target,
                        [weak = weak_from_this(), pool = &cluster_->pool(), target](Result<ConnectionPool::ChannelRef> lent) {
                          const auto self = weak.lock();
                          if (!self || self->shut_) {
                            if (lent) pool->give_back(*lent);
                            return;
                          }
                          Link& to = self->links_[target];
                          to.lending = false;
                          if (lent) {
                            to.channel = *lent;
                            to.fetching = false;
                            to.failures = 0;
                          } else {
                            self->note_trouble(lent.error());
                            to.blocked_until_ns = self->loop_->now_ns() + self->backoff_.after_ns(to.failures++);
                          }
                          self->run();
                        });
}

void Fetcher::send_fetch(Link& link, const std::string& target) {
  std::vector<Asked> asked = std::exchange(link.fetches, {});
  std::vector<wire::FetchRequest::Topic> topics;
  std::vector<wire::FetchRequest::Partition> partitions;
  group_by_topic(asked, topics, partitions, [&](const Asked& one) {
    wire::FetchRequest::Partition partition;
    partition.partition = one.partition->id;
    partition.fetch_offset = one.from.value;
    partition.partition_max_bytes = static_cast<std::int32_t>(settings_->partition_fetch_bytes_max);
    return partition;
  });
  wire::FetchRequest request;
  request.max_wait_ms = static_cast<std::int32_t>(settings_->fetch_wait_ms);
  request.min_bytes = static_cast<std::int32_t>(settings_->fetch_bytes_min);
  request.max_bytes = static_cast<std::int32_t>(settings_->fetch_bytes_max);
  request.isolation_level = settings_->read_committed ? 1 : 0;
  request.topics = topics;
  const Result<> sent = link.channel->request(request, {}, settings_->fetch_wait_ms, true,
                                              [weak = weak_from_this(), asked, target](const Result<ResponseFrame>& outcome) {
                                                const auto self = weak.lock();
                                                if (!self || self->shut_) return;
                                                self->links_[target].fetching = false;
                                                self->fetched(asked, outcome);
                                                self->run();
                                              });
  if (sent) {
    link.fetching = true;
    const std::lock_guard lock(state_->mutex);
    ++state_->statistics.requests;
  } else {
    request_failed(asked, sent.error());
  }
}

void Fetcher::send_lookups(Link& link, const std::string&) {
  std::vector<Asked> asked = std::exchange(link.lookups, {});
  std::vector<wire::ListOffsetsRequest::Topic> topics;
  std::vector<wire::ListOffsetsRequest::Partition> partitions;
  group_by_topic(asked, topics, partitions, [](const Asked& one) {
    wire::ListOffsetsRequest::Partition partition;
    partition.partition_index = one.partition->id;
    partition.timestamp = wanted_time(one.start);
    return partition;
  });
  wire::ListOffsetsRequest request;
  request.isolation_level = settings_->read_committed ? 1 : 0;
  request.topics = topics;
  const Result<> sent = link.channel->request(request, [weak = weak_from_this(), asked](const Result<ResponseFrame>& outcome) {
    const auto self = weak.lock();
    if (!self || self->shut_) return;
    self->found(asked, outcome);
    self->run();
  });
  if (!sent) request_failed(asked, sent.error());
}

void Fetcher::request_failed(const std::vector<Asked>& asked, const Error& error) {
  const bool final = error.code == ErrorCode::unsupported || error.code == ErrorCode::invalid_argument;
  {
    const std::lock_guard lock(state_->mutex);
    ++state_->statistics.retries;
    for (const Asked& one : asked) {
      if (one.generation != one.partition->generation) continue;
      one.partition->asking = false;
      if (final) one.partition->error = error;
      retry_later(*one.partition);
    }
  }
  if (final) state_->changed.notify_all();
  note_trouble(error);
}

void Fetcher::retry_later(FetchPartition& partition) {
  partition.blocked_until_ns = loop_->now_ns() + backoff_.after_ns(partition.failures++);
  wake_at(partition.blocked_until_ns);
}

void Fetcher::note_trouble(const Error& error) {
  const std::lock_guard lock(state_->mutex);
  const std::int64_t since = state_->trouble ? state_->trouble->since_ns : loop_->now_ns();
  state_->trouble = {error, since};
}

void Fetcher::fetched(const std::vector<Asked>& asked, const Result<ResponseFrame>& outcome) {
  wire::Arena arena;
  wire::FetchResponse response;
  Result<> result = outcome ? decode_response(*outcome, arena, response) : std::unexpected(outcome.error());
  if (result && response.error_code != 0) result = std::unexpected(wire_error(response.error_code, "fetch"));
  if (!result) {
    request_failed(asked, result.error());
    return;
  }
  {
    const std::lock_guard lock(state_->mutex);
    answered(asked);
    for (const auto& topic : response.responses) {
      for (const auto& answer : topic.partitions) {
        const Asked* const of = still_asked(asked, topic.topic, answer.partition_index);
        if (of == nullptr) continue;
        FetchPartition& partition = *of->partition;
        if (answer.error_code != 0) {
          partition_failed(partition, answer.error_code);
          continue;
        }
        partition.failures = 0;
        partition.high_watermark = {settings_->read_committed && answer.last_stable_offset >= 0 ? answer.last_stable_offset
                                                                                                : answer.high_watermark};
        if (!answer.records.slices.empty()) take_data(partition, *of, outcome->buffer, answer.records.slices[0].as_memory());
      }
    }
  }
  state_->changed.notify_all();
}

void Fetcher::answered(const std::vector<Asked>& asked) {
  state_->trouble.reset();
  for (const Asked& one : asked) {
    if (one.generation == one.partition->generation) one.partition->asking = false;
  }
}

const Fetcher::Asked* Fetcher::still_asked(const std::vector<Asked>& asked, std::string_view topic, PartitionId partition) {
  const auto found = std::ranges::find_if(
      asked, [&](const Asked& one) { return one.partition->id == partition && one.partition->topic == topic; });
  return found != asked.end() && found->generation == found->partition->generation ? &*found : nullptr;
}

/// Keeps what came, up to the last whole batch. Under the lock.
void Fetcher::take_data(FetchPartition& partition, const Asked& asked, const BufferRef& buffer, Bytes data) {
  std::size_t whole = 0;
  Offset next = asked.from;
  while (whole + kBatchHeaderBytes <= data.size()) {
    std::size_t total = 0;
    const Bytes rest = data.subspan(whole);
    const Status framed = frame_batch(rest, &total);
    if (!framed.ok()) {
      // Cut in the middle by the size bound: the rest comes with the next fetch. Anything else is damage, told once the good is
      // read.
      const bool cut = BatchHeader(rest.data()).length_field() > 0 && BatchHeader(rest.data()).total_bytes() > rest.size();
      if (!cut && whole == 0) {
        partition.error =
            Error(framed.code, fmt::format("{}[{}] at offset {}: {}", partition.topic, partition.id, next.value, framed.text));
      }
      break;
    }
    next = std::max(next, BatchHeader(rest.data()).next_offset());
    whole += total;
    ++state_->statistics.batches;
  }
  if (whole == 0) return;
  partition.chunks.push_back({buffer, data.first(whole), asked.from, next});
  partition.fetch_from = next;
  partition.buffered_bytes += whole;
  state_->buffered_bytes += whole;
  state_->statistics.bytes += whole;
}

/// Under the lock.
void Fetcher::partition_failed(FetchPartition& partition, std::int16_t code) {
  const auto error = static_cast<WireError>(code);
  const Error cause = wire_error(code, fmt::format("{}[{}]", partition.topic, partition.id));
  if (error == WireError::offset_out_of_range) {
    ++state_->statistics.resets;
    if (settings_->out_of_range == OutOfRange::error) {
      partition.error = Error(cause.code, fmt::format("{}; asked for offset {}", cause.message, partition.fetch_from.value));
    } else {
      partition.start = settings_->out_of_range == OutOfRange::earliest ? StartAt::beginning() : StartAt::end();
    }
    return;
  }
  if (leader_is_wrong(error)) cluster_->forget_topic(partition.topic);
  if (!wire::is_retriable(error) || error == WireError::unknown_topic_or_partition) {
    partition.error = cause;
    return;
  }
  ++state_->statistics.retries;
  const std::int64_t since = state_->trouble ? state_->trouble->since_ns : loop_->now_ns();
  state_->trouble = {cause, since};
  retry_later(partition);
}

void Fetcher::found(const std::vector<Asked>& asked, const Result<ResponseFrame>& outcome) {
  wire::Arena arena;
  wire::ListOffsetsResponse response;
  const Result<> result = outcome ? decode_response(*outcome, arena, response) : std::unexpected(outcome.error());
  if (!result) {
    request_failed(asked, result.error());
    return;
  }
  {
    const std::lock_guard lock(state_->mutex);
    answered(asked);
    for (const auto& topic : response.topics) {
      for (const auto& answer : topic.partitions) {
        const Asked* const of = still_asked(asked, topic.name, answer.partition_index);
        if (of == nullptr) continue;
        FetchPartition& partition = *of->partition;
        if (answer.error_code != 0) {
          partition_failed(partition, answer.error_code);
        } else if (answer.offset < 0) {
          partition.start = StartAt::end();  // nothing is that young
        } else {
          partition.start.reset();
          partition.position = partition.fetch_from = {answer.offset};
          partition.failures = 0;
        }
      }
    }
  }
  state_->changed.notify_all();
}

void Fetcher::refresh(const std::string& topic, std::int64_t now) {
  Refresh& refresh = refreshes_[topic];
  if (refresh.under_way) return;
  if (refresh.after_ns > now) {
    wake_at(refresh.after_ns);
    return;
  }
  refresh.under_way = true;
  cluster_->refresh(topic, false, [weak = weak_from_this(), topic](const Result<>& outcome) {
    const auto self = weak.lock();
    if (!self || self->shut_) return;
    Refresh& of = self->refreshes_[topic];
    of.under_way = false;
    of.after_ns = self->loop_->now_ns() + self->backoff_.after_ns(outcome ? 0 : of.failures++);
    if (outcome) {
      of.failures = 0;
    } else {
      const ErrorCode code = outcome.error().code;
      if (code == ErrorCode::not_found || code == ErrorCode::invalid_argument || code == ErrorCode::permission_denied ||
          code == ErrorCode::unsupported) {
        const std::lock_guard lock(self->state_->mutex);
        for (const FetchPartitionRef& partition : self->state_->partitions) {
          if (partition->topic == topic && !partition->error) partition->error = outcome.error();
        }
        self->state_->changed.notify_all();
      } else {
        self->note_trouble(outcome.error());
      }
    }
    self->run();
  });
}

void Fetcher::shut_down() {
  if (std::exchange(shut_, true)) return;
  timer_.cancel();
  for (auto& [target, link] : links_) {
    if (link.channel) cluster_->pool().give_back(link.channel);
    link.channel.reset();
  }
}

}  // namespace streambus::client
