#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "streambus/base/assert.hpp"
#include "streambus/base/misuse.hpp"

namespace streambus {

/// An intrusive reference count that keeps memory or a file alive while slices of it are in use.
/// Crosses plugin boundaries: the binary that made the object is the one that disposes of it.
/// A new Pin has one reference, which belongs to its maker. Thread-safe.
class Pin {
 public:
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

  void add_ref() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }

  /// Gives one reference back; the last one disposes of the object, on the calling thread.
  void release() noexcept {
    const std::uint32_t before = references_.fetch_sub(1, std::memory_order_acq_rel);
    if constexpr (kMisuseChecks) STREAMBUS_ASSERT(before != 0 && "released more often than referenced");
    if (before == 1) dispose();
  }

  /// True when the caller's reference is the only one: nobody else reads or can take another.
  [[nodiscard]] bool unique() const noexcept { return references_.load(std::memory_order_acquire) == 1; }

 protected:
  Pin() noexcept = default;
  virtual ~Pin() = default;

  /// Called once, when the last reference is gone. Must not block for long: it runs on whatever thread was last.
  virtual void dispose() noexcept = 0;

  /// For objects that are recycled instead of deleted: makes the maker's reference anew.
  void reset_reference() noexcept { references_.store(1, std::memory_order_relaxed); }

  /// The count, for misuse checks only.
  [[nodiscard]] std::uint32_t references() const noexcept { return references_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint32_t> references_{1};
};

/// Owns one reference of a Pin-like T.
template <class T>
class Ref {
 public:
  Ref() noexcept = default;

  /// Takes over the reference that the caller holds.
  [[nodiscard]] static Ref adopt(T* object) noexcept {
    Ref ref;
    ref.object_ = object;
    return ref;
  }

  /// Adds a reference of its own.
  [[nodiscard]] static Ref share(T* object) noexcept {
    if (object != nullptr) object->add_ref();
    return adopt(object);
  }

  Ref(const Ref& other) noexcept : object_(other.object_) {
    if (object_ != nullptr) object_->add_ref();
  }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <class U>
    requires std::is_convertible_v<U*, T*>
  Ref(Ref<U> other) noexcept : object_(other.detach()) {}  // NOLINT(google-explicit-constructor): as pointers convert
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->release();
  }

  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] T* operator->() const noexcept { return object_; }
  [[nodiscard]] T& operator*() const noexcept { return *object_; }
  [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }

  /// Hands the reference over to the caller.
  [[nodiscard]] T* detach() noexcept { return std::exchange(object_, nullptr); }
  void reset() noexcept { *this = Ref(); }

 private:
  T* object_ = nullptr;
};

using PinRef = Ref<Pin>;

}  // namespace streambus
