#include "sender.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wire_errors.hpp"

namespace streambus::client {
namespace {

using wire::WireError;

constexpr std::int64_t kMemoryRetryNs = 10 * kMillisecond;

bool is_waiting(const std::shared_ptr<ProduceBatch>& batch) { return batch->state == ProduceBatch::State::waiting; }

/// Failures of a connection or of the wait for an answer: the batch may go out again.
bool may_retry(const Error& error) { return error.code != ErrorCode::unsupported && error.code != ErrorCode::invalid_argument; }

/// Sequences count to 2^31 - 1 and start again at 0 (KIP-98).
std::int32_t next_sequence(std::int32_t sequence, std::uint32_t records) {
  return static_cast<std::int32_t>((static_cast<std::uint32_t>(sequence) + records) & 0x7fffffffU);
}

bool leader_is_wrong(WireError error) {
  return error == WireError::not_leader_or_follower || error == WireError::leader_not_available ||
         error == WireError::unknown_topic_or_partition || error == WireError::fenced_leader_epoch;
}

/// The broker saw the batch's sequence and refused it: it is not in the log.
bool sequence_refused(const ProduceBatch& batch) {
  return batch.last_error &&
         (batch.last_error->code == ErrorCode::out_of_order_sequence || batch.last_error->code == ErrorCode::unknown_producer ||
          batch.last_error->code == ErrorCode::producer_fenced);
}

bool is_sequence_error(WireError error) {
  return error == WireError::out_of_order_sequence_number || error == WireError::unknown_producer_id ||
         error == WireError::invalid_producer_epoch || error == WireError::producer_fenced;
}

}  // namespace

Sender::Sender(Cluster& cluster, BufferSource& buffers, const ProducerSettings& settings, Accumulator& accumulator,
               const Codec* codec, BatchCallback on_batch, std::uint64_t seed)
    : cluster_(&cluster),
      loop_(&cluster.loop()),
      buffers_(&buffers),
      settings_(&settings),
      accumulator_(&accumulator),
      codec_(codec),
      on_batch_(std::move(on_batch)),
      in_flight_max_(settings.idempotence || settings.retries_max == 0 ? settings.in_flight_per_partition_max : 1),
      backoff_(cluster.settings().retry_backoff_ms, cluster.settings().retry_backoff_max_ms, seed),
      timer_(cluster.loop(), [this] { run(); }) {}

void Sender::run() {
  if (shut_) return;
  const std::int64_t now = loop_->now_ns();
  next_ns_ = kNever;
  take_collected(now);
  expire(now);
  while (send_round(now)) {
  }
  timer_.at(next_ns_);
}

void Sender::take_collected(std::int64_t now) {
  collected_.clear();
  wake_at(accumulator_->collect(now, collected_));
  for (auto& [partition, batch] : collected_) {
    batch->ordinal = partition->next_ordinal++;
    partition->queue.push_back(std::move(batch));
    if (!std::exchange(partition->active, true)) active_.push_back(partition);
  }
}

/// Gives up batches past their time. One in flight stays in the queue, so that its place in the order is kept until its answer.
void Sender::expire(std::int64_t now) {
  std::vector<Pick> expired;
  for (ProducePartition* const partition : active_) {
    for (const BatchRef& batch : partition->queue) {
      const std::int64_t deadline = batch->created_ns + settings_->delivery_timeout_ms * kMillisecond;
      if (batch->state == ProduceBatch::State::abandoned) continue;
      if (deadline > now) {
        wake_at(deadline);
        break;
      }
      expired.push_back({partition, batch});
    }
  }
  for (const Pick& pick : expired) {
    std::string cause = "no broker took it";
    if (pick.batch->last_error) {
      cause = pick.batch->last_error->message;
    } else if (identity_error_) {
      cause = identity_error_->message;
    } else if (const std::string* const target =
                   cluster_->leader_target(pick.partition->topic->name, pick.partition->id, nullptr)) {
      const auto link = links_.find(*target);
      if (link != links_.end() && link->second.last_error) cause = link->second.last_error->message;
    }
    const Result<> outcome =
        fail(ErrorCode::timeout, fmt::format("not acknowledged within {} ms: {}", settings_->delivery_timeout_ms, cause));
    report(*pick.partition, *pick.batch, outcome, kNoOffset, kNoTimestamp);
    if (pick.batch->state == ProduceBatch::State::in_flight) {
      pick.batch->state = ProduceBatch::State::abandoned;
    } else {
      remove(*pick.partition, *pick.batch);
    }
  }
}

/// Puts together at most one request per broker; true when any was sent.
bool Sender::send_round(std::int64_t now) {
  std::erase_if(active_, [](ProducePartition* partition) {
    if (!partition->queue.empty()) return false;
    partition->active = false;
    return true;
  });
  if (active_.empty()) return false;
  const std::size_t count = active_.size();
  first_ = (first_ + 1) % count;
  for (std::size_t i = 0; i < count; ++i) consider(*active_[(first_ + i) % count], now);
  bool sent = false;
  for (auto& [target, link] : links_) {
    if (link.picks.empty()) continue;
    send_picks(link, now);
    sent = true;
  }
  return sent;
}

/// Adds the partition's next batch to its broker's request, where nothing forbids it.
void Sender::consider(ProducePartition& partition, std::int64_t now) {
  const auto next = std::ranges::find_if(partition.queue, is_waiting);
  if (next == partition.queue.end() || partition.draining) return;
  // Counted from the oldest batch whose fate is open, with those behind it that are done: a broker remembers that many
  // sequences back, not more, and could not tell an older batch that is sent again from a new one.
  if ((*next)->ordinal - partition.queue.front()->ordinal >= in_flight_max_) return;
  if (partition.blocked_until_ns > now) {
    wake_at(partition.blocked_until_ns);
    return;
  }
  Link* const link = link_for(partition, now);
  if (link == nullptr || !identified(partition)) return;
  ProduceBatch& batch = **next;
  if (const Result<> prepared = prepare(partition, batch); !prepared) {
    if (!is_retriable(prepared.error().code)) {
      settle({&partition, *next}, prepared.error(), false);
      return;
    }
    partition.blocked_until_ns = now + kMemoryRetryNs;
    wake_at(partition.blocked_until_ns);
    return;
  }
  const std::uint64_t bytes = batch.encoded.bytes.size();
  if (!link->picks.empty() && link->pick_bytes + bytes > settings_->request_bytes_max) return;
  link->picks.push_back({&partition, *next});
  link->pick_bytes += bytes;
}

Sender::Link* Sender::link_for(ProducePartition& partition, std::int64_t now) {
  const std::string* const target = cluster_->leader_target(partition.topic->name, partition.id, nullptr);
  if (target == nullptr) {
    refresh(*partition.topic, now);
    return nullptr;
  }
  Link& link = links_[*target];
  if (link.channel && link.channel->closed()) link.channel.reset();
  if (link.channel) return link.channel->can_send() ? &link : nullptr;
  if (link.lending) return nullptr;
  if (link.blocked_until_ns > now) {
    wake_at(link.blocked_until_ns);
    return nullptr;
  }
  lend(*target, link);
  return nullptr;
}

void Sender::lend(const std::string& target, Link& link) {
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
                            to.failures = 0;
                            to.last_error.reset();
                          } else {
                            to.last_error = lent.error();
                            to.blocked_until_ns = self->loop_->now_ns() + self->backoff_.after_ns(to.failures++);
                          }
                          self->run();
                        });
}

/// True when the partition has a producer id to go on with, or needs none.
bool Sender::identified(ProducePartition& partition) {
  if (!settings_->idempotence || partition.identity.version >= partition.wanted_version) return true;
  if (identity_.version < partition.wanted_version) {
    request_identity();
    return false;
  }
  partition.identity = identity_;
  partition.wanted_version = identity_.version;
  partition.next_sequence = 0;
  return true;
}

void Sender::request_identity() {
  if (requesting_identity_) return;
  const std::int64_t now = loop_->now_ns();
  if (identity_after_ns_ > now) {
    wake_at(identity_after_ns_);
    return;
  }
  requesting_identity_ = true;
  const auto send = [](Channel& channel, Completion done) {
    wire::InitProducerIdRequest request;
    request.transaction_timeout_ms = INT32_MAX;
    return channel.request(request, std::move(done));
  };
  cluster_->call_any(send, [weak = weak_from_this()](const Result<ResponseFrame>& outcome) {
    const auto self = weak.lock();
    if (!self || self->shut_) return;
    self->requesting_identity_ = false;
    wire::Arena arena;
    wire::InitProducerIdResponse response;
    Result<> result = outcome ? decode_response(*outcome, arena, response) : std::unexpected(outcome.error());
    if (result && response.error_code != 0) result = std::unexpected(wire_error(response.error_code, "producer id"));
    if (result) {
      self->identity_ = {response.producer_id, response.producer_epoch, self->identity_.version + 1};
      self->identity_failures_ = 0;
      self->identity_error_.reset();
    } else {
      self->identity_error_ = result.error();
      self->identity_after_ns_ = self->loop_->now_ns() + self->backoff_.after_ns(self->identity_failures_++);
    }
    self->run();
  });
}

/// Encodes the batch, or writes the partition's present producer id into one encoded before.
Result<> Sender::prepare(ProducePartition& partition, ProduceBatch& batch) {
  BatchStamp stamp;
  const bool encoded = batch.encoded.pin.get() != nullptr;
  const bool stamped = batch.stamped_version == partition.identity.version;
  if (encoded && stamped) return {};
  if (settings_->idempotence) {
    stamp.producer_id = partition.identity.id;
    stamp.producer_epoch = partition.identity.epoch;
    stamp.base_sequence = partition.next_sequence;
  }
  if (encoded) {
    STREAMBUS_TRY(stamp_encoded(batch, stamp));
  } else if (codec_ == nullptr) {
    STREAMBUS_TRY(to_result(batch.builder.finish(stamp, &batch.encoded)));
    batch.builder.reset();
  } else {
    MessageBuffer out(*buffers_);
    STREAMBUS_TRY(to_result(batch.builder.finish(stamp, codec_, out)));
    batch.encoded = out.slice(0, out.size());
  }
  batch.stamped_version = partition.identity.version;
  batch.sequence = stamp.base_sequence;
  if (settings_->idempotence) partition.next_sequence = next_sequence(partition.next_sequence, batch.record_count);
  return {};
}

/// A copy: the old bytes may still be on their way in a connection that is being closed, or belong to the user.
Result<> Sender::stamp_encoded(ProduceBatch& batch, const BatchStamp& stamp) {
  MessageBuffer copy(*buffers_);
  copy.bytes(batch.encoded.bytes);
  if (!copy.ok()) return fail(ErrorCode::busy, "no buffer memory for a batch");
  std::byte* const at = copy.at(0);
  store_be<std::int64_t>(at + 43, stamp.producer_id);
  store_be<std::int16_t>(at + 51, stamp.producer_epoch);
  store_be<std::int32_t>(at + 53, stamp.base_sequence);
  stamp_batch_crc({at, copy.size()});
  batch.encoded = copy.slice(0, copy.size());
  batch.foreign = false;
  return {};
}

void Sender::send_picks(Link& link, std::int64_t now) {
  std::vector<Pick> picks = std::exchange(link.picks, {});
  link.pick_bytes = 0;
  std::ranges::stable_sort(picks, std::less{}, [](const Pick& pick) { return pick.partition->topic; });
  for (const Pick& pick : picks) {
    pick.batch->state = ProduceBatch::State::in_flight;
    if (pick.batch->attempts++ > 0) ++statistics_.retries;
    ++pick.partition->in_flight;
  }
  ++statistics_.requests;
  if (const Result<> sent = send_request(link, picks); !sent) {
    // Nothing left this process.
    for (const Pick& pick : picks) settle(pick, sent.error(), may_retry(sent.error()));
    link.blocked_until_ns = now + kMemoryRetryNs;
  }
}

Result<> Sender::send_request(Link& link, std::vector<Pick>& picks) {
  std::vector<wire::ProduceRequest::Partition> partitions(picks.size());
  std::vector<wire::ProduceRequest::Topic> topics;
  std::vector<PinRef> payloads;
  payloads.reserve(picks.size());
  for (std::size_t i = 0; i < picks.size(); ++i) {
    const SharedSlice& batch = picks[i].batch->encoded;
    // The client only reads; the type is the broker's, which stamps in place.
    partitions[i] = {picks[i].partition->id, MutableBytes(const_cast<std::byte*>(batch.bytes.data()), batch.bytes.size())};
    payloads.push_back(batch.pin);
    if (i == 0 || picks[i].partition->topic != picks[i - 1].partition->topic) {
      topics.push_back({picks[i].partition->topic->name, std::span(partitions).subspan(i, 0)});
    }
    topics.back().partition_data = {topics.back().partition_data.data(), topics.back().partition_data.size() + 1};
  }
  wire::ProduceRequest request;
  request.acks = static_cast<std::int16_t>(settings_->acks);
  request.timeout_ms =
      static_cast<std::int32_t>(std::min<std::int64_t>(cluster_->settings().pool.request_timeout_ms, INT32_MAX));
  request.topic_data = topics;
  return link.channel->request(request, std::move(payloads), 0, settings_->acks != Acks::none,
                               [weak = weak_from_this(), picks](const Result<ResponseFrame>& outcome) {
                                 const auto self = weak.lock();
                                 if (self && !self->shut_) self->answered(picks, outcome);
                               });
}

void Sender::answered(const std::vector<Pick>& picks, const Result<ResponseFrame>& outcome) {
  wire::Arena arena;
  wire::ProduceResponse response;
  Result<> decoded = outcome ? Result<>{} : std::unexpected(outcome.error());
  const bool unanswered_by_design = settings_->acks == Acks::none;
  if (decoded && !unanswered_by_design) decoded = decode_response(*outcome, arena, response);
  for (const Pick& pick : picks) {
    if (!decoded) {
      settle(pick, decoded.error(), may_retry(decoded.error()));
      continue;
    }
    if (unanswered_by_design) {
      succeed(pick, kNoOffset, kNoTimestamp);
      continue;
    }
    const wire::ProduceResponse::Partition* found = nullptr;
    for (const auto& topic : response.responses) {
      if (topic.name != pick.partition->topic->name) continue;
      for (const auto& partition : topic.partition_responses) {
        if (partition.index == pick.partition->id) found = &partition;
      }
    }
    if (found == nullptr) {
      settle(pick, Error(ErrorCode::corrupt, "the broker's answer leaves the partition out"), true);
      continue;
    }
    const auto error = static_cast<WireError>(found->error_code);
    // Written by an earlier attempt whose answer was lost: what was wanted.
    if (error == WireError::none || error == WireError::duplicate_sequence_number) {
      succeed(pick, {error == WireError::none ? found->base_offset : -1}, found->log_append_time_ms);
      continue;
    }
    if (leader_is_wrong(error)) cluster_->forget_topic(pick.partition->topic->name);
    const bool sequence = settings_->idempotence && is_sequence_error(error);
    const std::string place = fmt::format("{}[{}]", pick.partition->topic->name, pick.partition->id);
    std::optional<std::string> text;
    if (found->error_message) text = fmt::format("{}: {}", place, *found->error_message);
    settle(pick, wire_error(found->error_code, place, text), sequence || wire::is_retriable(error));
  }
  run();
}

void Sender::left_flight(ProducePartition& partition, ProduceBatch& batch) {
  if (batch.state == ProduceBatch::State::waiting) return;  // it failed before it was sent
  STREAMBUS_ASSERT(partition.in_flight > 0);
  --partition.in_flight;
}

void Sender::succeed(const Pick& pick, Offset base_offset, TimestampMs log_append_time) {
  left_flight(*pick.partition, *pick.batch);
  if (pick.batch->state != ProduceBatch::State::abandoned)
    report(*pick.partition, *pick.batch, {}, base_offset, log_append_time);
  remove(*pick.partition, *pick.batch);
  after_drain(*pick.partition);
}

void Sender::settle(const Pick& pick, const Error& error, bool retriable) {
  ProducePartition& partition = *pick.partition;
  ProduceBatch& batch = *pick.batch;
  left_flight(partition, batch);
  batch.last_error = error;
  if (batch.state == ProduceBatch::State::abandoned) {
    remove(partition, batch);
  } else if (retriable && batch.attempts <= settings_->retries_max) {
    batch.state = ProduceBatch::State::waiting;
    partition.draining = true;
    partition.blocked_until_ns =
        loop_->now_ns() + backoff_.after_ns(static_cast<std::uint32_t>(std::max(batch.attempts - 1, 0)));
  } else {
    report(partition, batch, std::unexpected(error), kNoOffset, kNoTimestamp);
    remove(partition, batch);
  }
  after_drain(partition);
}

void Sender::after_drain(ProducePartition& partition) {
  if (partition.in_flight > 0 || !std::exchange(partition.draining, false) || partition.queue.empty()) return;
  // The first batch left was refused for its sequence: neither it nor any behind it is in the log.
  if (sequence_refused(*partition.queue.front())) partition.wanted_version = partition.identity.version + 1;
}

void Sender::remove(ProducePartition& partition, const ProduceBatch& batch) {
  const auto found = std::ranges::find(partition.queue, &batch, &BatchRef::get);
  if (found != partition.queue.end()) partition.queue.erase(found);
}

void Sender::report(ProducePartition& partition, ProduceBatch& batch, const Result<>& outcome, Offset base_offset,
                    TimestampMs log_append_time) {
  const std::uint64_t bytes = batch.encoded.bytes.size();
  if (outcome) {
    statistics_.records_delivered += batch.record_count;
    statistics_.bytes_delivered += bytes;
    ++statistics_.batches_delivered;
  } else {
    statistics_.records_failed += batch.record_count;
  }
  if (on_batch_) {
    on_batch_({.topic = partition.topic->name,
               .partition = partition.id,
               .outcome = outcome,
               .base_offset = base_offset,
               .record_count = batch.record_count,
               .bytes = bytes,
               .first_send_ns = batch.created_ns,
               .tags = batch.tags});
  }
  for (auto& [index, callback] : batch.callbacks) {
    callback({.outcome = outcome,
              .partition = partition.id,
              .offset = base_offset == kNoOffset ? kNoOffset : base_offset + index,
              .log_append_time = log_append_time});
  }
  batch.callbacks.clear();
  accumulator_->release(batch);
}

void Sender::want_topic(ProduceTopic& topic) {
  if (shut_) return;
  topic.wanted = true;
  refresh(topic, loop_->now_ns());
}

void Sender::refresh(ProduceTopic& topic, std::int64_t now) {
  if (topic.refreshing) return;
  if (topic.refresh_after_ns > now) {
    wake_at(topic.refresh_after_ns);
    return;
  }
  topic.refreshing = true;
  cluster_->refresh(topic.name, true, [weak = weak_from_this(), topic = &topic](const Result<>& outcome) {
    const auto self = weak.lock();
    if (!self || self->shut_) return;
    topic->refreshing = false;
    // At most one request per backoff, also while the answers are good but name no leader.
    topic->refresh_after_ns = self->loop_->now_ns() + self->backoff_.after_ns(outcome ? 0 : topic->refresh_failures++);
    if (outcome) {
      topic->refresh_failures = 0;
      topic->wanted = false;
      const TopicInfo* const info = self->cluster_->find_topic(topic->name);
      if (info != nullptr) self->accumulator_->set_partitions(*topic, info->partitions.size());
    } else {
      const ErrorCode code = outcome.error().code;
      const bool final = code == ErrorCode::not_found || code == ErrorCode::invalid_argument ||
                         code == ErrorCode::permission_denied || code == ErrorCode::unsupported;
      self->accumulator_->set_topic_error(*topic, outcome.error(), final);
      if (final) topic->wanted = false;
    }
    self->run();
  });
}

void Sender::shut_down() {
  if (std::exchange(shut_, true)) return;
  timer_.cancel();
  collected_.clear();
  (void)accumulator_->collect(INT64_MAX - 1, collected_);
  const Result<> outcome = fail(ErrorCode::cancelled, "the producer was closed before the record was acknowledged");
  for (auto& [partition, batch] : collected_) report(*partition, *batch, outcome, kNoOffset, kNoTimestamp);
  for (ProducePartition* const partition : active_) {
    for (const BatchRef& batch : std::exchange(partition->queue, {})) {
      if (batch->state != ProduceBatch::State::abandoned) report(*partition, *batch, outcome, kNoOffset, kNoTimestamp);
    }
  }
  for (auto& [target, link] : links_) {
    if (link.channel) cluster_->pool().give_back(link.channel);
    link.channel.reset();
  }
}

}  // namespace streambus::client
