#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace streambus::test {

/// Passes connections on to another port of 127.0.0.1 and cuts them on demand, in both directions, with whatever is on its way.
class CuttingProxy {
 public:
  CuttingProxy();
  ~CuttingProxy();
  CuttingProxy(const CuttingProxy&) = delete;
  CuttingProxy& operator=(const CuttingProxy&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// Where connections go; until then they are refused.
  void forward_to(std::uint16_t target_port) noexcept { target_port_ = target_port; }
  /// Cuts every connection; data in between is lost. Returns how many there were.
  std::size_t cut_all();
  /// Cuts each connection after about this many more bytes from the client: in the middle of a request. Returns how many.
  std::size_t cut_all_after(std::size_t bytes);

 private:
  struct Link {
    int client;
    int server;
    std::size_t bytes_left;
  };
  void run();
  void accept_one();
  [[nodiscard]] bool pass(Link& link, int from, int to, bool from_client);
  static void close(const Link& link);

  std::atomic<std::uint16_t> target_port_{0};
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<Link> links_;  ///< guarded by mutex_
  std::thread thread_;
};

}  // namespace streambus::test
