// A bounds-checked reader of ELF64 notes (System V ABI, "Object Files" and "Note Section").

#include "elf_note.hpp"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "streambus/base/ids.hpp"
#include "streambus/plugin/sdk.hpp"

namespace streambus {
namespace {

constexpr std::uint64_t kNoteBytesMax = std::uint64_t{1} << 20;
constexpr std::string_view kNoteName{"StreamBus\0", 10};
constexpr std::uint64_t kStampBytesMin = offsetof(AbiStamp, name);  // what every version of the stamp has, up to the name

#if defined(__x86_64__)
constexpr std::uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr std::uint16_t kMachine = EM_AARCH64;
#endif

std::string machine_name(std::uint16_t machine) {
  struct Name {
    std::uint16_t machine;
    const char* name;
  };
  static constexpr Name kNames[] = {{EM_X86_64, "x86_64"}, {EM_AARCH64, "aarch64"}, {EM_386, "i386"},  {EM_ARM, "arm"},
                                    {EM_RISCV, "riscv"},   {EM_PPC64, "ppc64"},     {EM_S390, "s390x"}};
  for (const Name& known : kNames) {
    if (known.machine == machine) return known.name;
  }
  return "ELF machine " + std::to_string(machine);
}

class ElfFile {
 public:
  ElfFile(int fd, std::uint64_t bytes) noexcept : fd_(fd), bytes_(bytes) {}

  [[nodiscard]] bool holds(std::uint64_t position, std::uint64_t length) const noexcept {
    return position <= bytes_ && length <= bytes_ - position;
  }

  [[nodiscard]] bool read(std::uint64_t position, void* to, std::size_t length) const noexcept {
    if (!holds(position, length)) return false;
    std::size_t done = 0;
    while (done < length) {
      const ssize_t got = ::pread(fd_, static_cast<char*>(to) + done, length - done, static_cast<off_t>(position + done));
      if (got == 0 || (got < 0 && errno != EINTR)) return false;
      if (got > 0) done += static_cast<std::size_t>(got);
    }
    return true;
  }

  /// Reads a table of `count` entries of the file.
  template <class Entry>
  [[nodiscard]] std::optional<std::vector<Entry>> table(std::uint64_t position, std::uint16_t count) const {
    const std::size_t length = sizeof(Entry) * count;
    if (!holds(position, length)) return std::nullopt;
    std::vector<Entry> entries(count);
    if (!read(position, entries.data(), length)) return std::nullopt;
    return entries;
  }

 private:
  int fd_;
  std::uint64_t bytes_;
};

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t to) noexcept { return (value + to - 1) / to * to; }

/// The description of our note among the notes in `notes`; zeros between notes are stepped over (sanitizers pad).
std::optional<std::span<const std::byte>> find_note(std::span<const std::byte> notes) {
  std::uint64_t position = 0;
  while (position <= notes.size() && notes.size() - position >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr header;
    std::memcpy(&header, notes.data() + position, sizeof header);
    const std::uint64_t name_at = position + sizeof header;
    const std::uint64_t description_at = name_at + align_up(header.n_namesz, 4);
    const std::uint64_t end = description_at + align_up(header.n_descsz, 4);
    if (description_at + header.n_descsz > notes.size()) return std::nullopt;
    if (header.n_type == kNoteType && header.n_namesz == kNoteName.size() &&
        std::memcmp(notes.data() + name_at, kNoteName.data(), kNoteName.size()) == 0) {
      return notes.subspan(description_at, header.n_descsz);
    }
    position = end;
  }
  return std::nullopt;
}

std::unexpected<Error> truncated(const std::string& what, std::uint64_t bytes) {
  return fail(ErrorCode::corrupt, "expected a complete ELF file, found one that ends (after " + std::to_string(bytes) +
                                      " bytes) before its " + what + "; copy or build it again");
}

Result<Elf64_Ehdr> read_header(const ElfFile& file, std::uint64_t bytes) {
  std::array<unsigned char, EI_NIDENT> ident{};
  if (!file.read(0, ident.data(), std::min<std::uint64_t>(bytes, ident.size())) ||
      std::memcmp(ident.data(), ELFMAG, std::min<std::uint64_t>(bytes, SELFMAG)) != 0 || bytes == 0) {
    return fail(ErrorCode::incompatible,
                "expected an ELF shared object, found another kind of file; build the plugin with streambus_add_plugin");
  }
  Elf64_Ehdr header;
  if (bytes < sizeof header || !file.read(0, &header, sizeof header)) return truncated("header", bytes);
  if (ident[EI_CLASS] != ELFCLASS64 ||
      ident[EI_DATA] != (std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB)) {
    return fail(ErrorCode::incompatible,
                std::string("architecture: expected ") + host_stamp().architecture +
                    ", found an ELF file of another word size or byte order; build it for this machine");
  }
  if (header.e_machine != kMachine) {
    return fail(ErrorCode::incompatible, std::string("architecture: expected ") + host_stamp().architecture + ", found " +
                                             machine_name(header.e_machine) + "; build it for this machine");
  }
  if (header.e_type != ET_DYN) {
    return fail(ErrorCode::incompatible, "expected an ELF shared object, found an ELF file of type " +
                                             std::to_string(header.e_type) + " (3 is a shared object); link it with -shared");
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0) {
    return fail(ErrorCode::corrupt, "expected program headers of 56 bytes, found " + std::to_string(header.e_phnum) + " of " +
                                        std::to_string(header.e_phentsize) + " bytes; build it again");
  }
  return header;
}

}  // namespace

Result<AbiStamp> read_abi_stamp(int fd, std::uint64_t file_bytes) {
  const ElfFile file(fd, file_bytes);
  STREAMBUS_TRY_ASSIGN(const Elf64_Ehdr header, read_header(file, file_bytes));
  const auto segments = file.table<Elf64_Phdr>(header.e_phoff, header.e_phnum);
  if (!segments) return truncated("program headers", file_bytes);
  for (const Elf64_Phdr& segment : *segments) {
    if (segment.p_type == PT_LOAD && !file.holds(segment.p_offset, segment.p_filesz)) return truncated("segments", file_bytes);
  }
  // The linker puts the section table last: a file that was cut short rarely has all of it.
  if (header.e_shnum != 0 && !file.holds(header.e_shoff, std::uint64_t{header.e_shnum} * header.e_shentsize)) {
    return truncated("section headers", file_bytes);
  }
  for (const Elf64_Phdr& segment : *segments) {
    if (segment.p_type != PT_NOTE || segment.p_filesz > kNoteBytesMax) continue;
    std::vector<std::byte> notes(segment.p_filesz);
    if (!file.read(segment.p_offset, notes.data(), notes.size())) return truncated("notes", file_bytes);
    const auto description = find_note(notes);
    if (!description) continue;
    if (description->size() < kStampBytesMin) {
      return fail(ErrorCode::corrupt, "expected a StreamBus note of at least " + std::to_string(kStampBytesMin) +
                                          " bytes, found " + std::to_string(description->size()) +
                                          "; build it again with this version's headers");
    }
    AbiStamp stamp{};
    std::memcpy(&stamp, description->data(), std::min(description->size(), sizeof stamp));
    stamp.architecture[sizeof stamp.architecture - 1] = '\0';
    stamp.compiler[sizeof stamp.compiler - 1] = '\0';
    stamp.api_hash[sizeof stamp.api_hash - 1] = '\0';
    stamp.name[sizeof stamp.name - 1] = '\0';
    stamp.version[sizeof stamp.version - 1] = '\0';
    return stamp;
  }
  return fail(
      ErrorCode::not_found,
      "expected the note '.note.streambus' that marks a plugin, found a shared object without it; it is not a StreamBus "
      "plugin, or was built without STREAMBUS_PLUGIN(...)");
}

const AbiStamp& host_stamp() noexcept {
  static constexpr AbiStamp kStamp = sdk::stamp_here(PluginKind::storage, "host", kVersion);
  return kStamp;
}

}  // namespace streambus
