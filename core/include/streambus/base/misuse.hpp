#pragma once
// Whether this build looks for misuse of references and buffers: debug and address-sanitizer builds do.

#if !defined(NDEBUG) || defined(__SANITIZE_ADDRESS__)
#define STREAMBUS_MISUSE_CHECKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STREAMBUS_MISUSE_CHECKS 1
#endif
#endif

namespace streambus {

#ifdef STREAMBUS_MISUSE_CHECKS
inline constexpr bool kMisuseChecks = true;
#else
inline constexpr bool kMisuseChecks = false;
#endif

}  // namespace streambus
