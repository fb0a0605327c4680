#include "durability.hpp"

#include <thread>
#include <vector>

#include "fixture.hpp"

namespace streambus::broker {
namespace {

/// Writes down what happened in which order.
struct Journal {
  std::mutex mutex;
  std::vector<std::string> entries;
  void add(std::string entry) {
    const std::lock_guard lock(mutex);
    entries.push_back(std::move(entry));
  }
};

class Target final : public DurableTarget {
 public:
  explicit Target(Journal& journal) : journal_(journal) {}
  void durable_to(Offset end) noexcept override { journal_.add("visible " + std::to_string(end.value)); }
  using DurableTarget::references;

 private:
  void dispose() noexcept override {}
  Journal& journal_;
};

class Waiter final : public ProduceWaiter {
 public:
  Waiter(Journal& journal, std::uint64_t at, std::int64_t until) : journal_(journal) {
    position = at;
    end = {until};
  }
  void completed() noexcept override { journal_.add("done " + std::to_string(position)); }

 private:
  Journal& journal_;
};

class DomainTest : public ::testing::Test {
 protected:
  Journal journal;
  Target target{journal};
  Target other{journal};
  Ref<Domain> domain = Ref<Domain>::adopt(new Domain);
  Waiter first{journal, 1, 10}, second{journal, 2, 20}, third{journal, 3, 30};
};

TEST_F(DomainTest, ReleasesInOrderUpToThePositionAndPublishesFirst) {
  for (Waiter* waiter : {&first, &second, &third}) ASSERT_EQ(domain->wait(*waiter, target), Domain::Wait::pending);
  EXPECT_EQ(target.references(), 4U);
  domain->advance(2);
  EXPECT_EQ(journal.entries, (std::vector<std::string>{"visible 20", "done 1", "done 2"}));
  EXPECT_EQ(target.references(), 2U);
  domain->advance(2);  // said twice: nothing new
  domain->advance(9);
  EXPECT_EQ(journal.entries, (std::vector<std::string>{"visible 20", "done 1", "done 2", "visible 30", "done 3"}));
  EXPECT_EQ(target.references(), 1U);
}

TEST_F(DomainTest, SortsWaitersOfPartitionsThatOvertookEachOther) {
  ASSERT_EQ(domain->wait(third, target), Domain::Wait::pending);
  ASSERT_EQ(domain->wait(first, other), Domain::Wait::pending);
  ASSERT_EQ(domain->wait(second, target), Domain::Wait::pending);
  domain->advance(1);
  EXPECT_EQ(journal.entries, (std::vector<std::string>{"visible 10", "done 1"}));
  domain->advance(3);
  EXPECT_EQ(journal.entries, (std::vector<std::string>{"visible 10", "done 1", "visible 30", "done 2", "done 3"}));
}

TEST_F(DomainTest, APositionReportedBeforeTheWaitIsDurableAtOnce) {
  domain->advance(2);
  EXPECT_EQ(domain->wait(second, target), Domain::Wait::durable);
  EXPECT_EQ(domain->wait(third, target), Domain::Wait::pending);
  domain->advance(3);
}

TEST_F(DomainTest, AFailureReachesEveryWaiterAndNothingIsDurableAfterIt) {
  ASSERT_EQ(domain->wait(first, target), Domain::Wait::pending);
  ASSERT_EQ(domain->wait(second, target), Domain::Wait::pending);
  domain->fail({ErrorCode::io_error, "fdatasync: EIO"});
  EXPECT_EQ(journal.entries, (std::vector<std::string>{"done 1", "done 2"}));
  EXPECT_EQ(first.error, ErrorCode::io_error);
  EXPECT_STREQ(second.error_text, "fdatasync: EIO");
  domain->advance(5);  // never retried into success
  EXPECT_EQ(domain->wait(third, target), Domain::Wait::failed);
  EXPECT_EQ(third.error, ErrorCode::io_error);
  domain->fail({ErrorCode::no_space, "another"});
  EXPECT_EQ(domain->failure().code, ErrorCode::io_error);
  EXPECT_EQ(target.references(), 1U);
}

TEST_F(DomainTest, AClosedDomainCancelsItsWaiters) {
  test::FakeHost host;
  DomainTable table(host);
  const std::uint32_t id = table.open_domain();
  EXPECT_NE(id, table.open_domain());
  ASSERT_EQ(table.find(id)->wait(first, target), Domain::Wait::pending);
  table.close_domain(id);
  EXPECT_EQ(first.error, ErrorCode::cancelled);
  EXPECT_FALSE(table.find(id));
  table.durable_advanced(id, 7);  // late reports of a closed domain are harmless
  table.domain_failed(id, {ErrorCode::io_error, "late"});
  table.close_domain(id);
}

TEST_F(DomainTest, ConcurrentWaitsAndReportsReleaseEveryWaiterOnce) {
  constexpr std::uint64_t kWaiters = 2000;
  struct Counted final : ProduceWaiter {
    std::atomic<int> completions{0};
    void completed() noexcept override { ++completions; }
  };
  std::vector<Counted> waiters(kWaiters);
  std::atomic<std::uint64_t> appended{0};
  std::atomic<int> immediate{0};
  std::thread flusher([&] {
    for (std::uint64_t reported = 0; reported < kWaiters;) {
      const std::uint64_t position = appended.load();
      if (position == reported) continue;
      domain->advance(position);
      reported = position;
    }
  });
  for (std::uint64_t i = 0; i < kWaiters; ++i) {
    waiters[i].position = i + 1;
    waiters[i].end = {static_cast<std::int64_t>(i) + 1};
    appended.store(i + 1);
    if (domain->wait(waiters[i], target) == Domain::Wait::durable) {
      ++immediate;
      ++waiters[i].completions;
    }
  }
  flusher.join();
  for (const Counted& waiter : waiters) EXPECT_EQ(waiter.completions.load(), 1);
  EXPECT_EQ(target.references(), 1U);
}

TEST_F(DomainTest, ErrorTextsAreCutToTheirRoom) {
  set_error(first, ErrorCode::busy, std::string(500, 'x'));
  EXPECT_EQ(std::string(first.error_text), std::string(sizeof first.error_text - 1, 'x'));
}

}  // namespace
}  // namespace streambus::broker
