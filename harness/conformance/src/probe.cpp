#include "probe.hpp"

#include <elf.h>
#include <link.h>

#include <cstring>
#include <fstream>

#include "storage_fixture.hpp"
#include "transport_fixture.hpp"

namespace streambus::conformance {
namespace {

struct BuildIdSearch {
  std::uintptr_t address;
  std::string found;
};

/// The build id among the notes, in hexadecimal.
std::string build_id_in(Bytes notes) {
  const auto padded = [](std::size_t bytes) { return (bytes + 3) & ~std::size_t{3}; };
  ElfW(Nhdr) note;
  while (notes.size() >= sizeof note) {
    std::memcpy(&note, notes.data(), sizeof note);
    const std::size_t description = sizeof note + padded(note.n_namesz);
    if (notes.size() < description + note.n_descsz) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(notes.data() + sizeof note, "GNU", 4) == 0) {
      std::string text;
      for (const std::byte one : notes.subspan(description, note.n_descsz))
        text += fmt::format("{:02x}", std::to_integer<unsigned>(one));
      return text;
    }
    notes = notes.subspan(std::min(notes.size(), description + padded(note.n_descsz)));
  }
  return {};
}

/// Reads the notes from the file: in memory the address sanitizer guards what lies between them.
int visit_object(dl_phdr_info* info, std::size_t, void* context) {
  auto& search = *static_cast<BuildIdSearch*>(context);
  const std::span<const ElfW(Phdr)> headers(info->dlpi_phdr, info->dlpi_phnum);
  const bool holds = std::ranges::any_of(headers, [&](const ElfW(Phdr) & header) {
    const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    return header.p_type == PT_LOAD && search.address >= begin && search.address < begin + header.p_memsz;
  });
  if (!holds) return 0;
  std::ifstream file(*info->dlpi_name != '\0' ? info->dlpi_name : "/proc/self/exe", std::ios::binary);
  for (const ElfW(Phdr) & header : headers) {
    if (header.p_type != PT_NOTE || !search.found.empty()) continue;
    std::vector<std::byte> notes(header.p_filesz);
    file.seekg(static_cast<std::streamoff>(header.p_offset));
    if (file.read(reinterpret_cast<char*>(notes.data()), static_cast<std::streamsize>(notes.size())))
      search.found = build_id_in(notes);
  }
  return 1;
}

/// Stores a batch and looks for it again in a new instance.
Result<> probe_storage(const EngineCase& engine, Traits* traits) {
  FaultFileSystem files;
  EngineUnderTest under_test(engine, files);
  STREAMBUS_TRY(to_result(under_test.start()));
  traits->durability = under_test.engine().durability();
  traits->replaces = under_test.engine().can_replace();
  PartitionLog* log = nullptr;
  STREAMBUS_TRY(to_result(under_test.engine().open(kKey, {}, {}, &log)));
  AppendResult appended;
  STREAMBUS_TRY(to_result(log->append(make_batch({.base = 0}), {0}, {1}, 1000, &appended)));
  if (appended.position != 0) (void)under_test.host().sink.wait(log->durability_domain(), appended.position);
  STREAMBUS_TRY(to_result(log->close()));
  STREAMBUS_TRY(to_result(under_test.stop()));
  traits->file_layer = !files.paths().empty();
  STREAMBUS_TRY(to_result(under_test.start()));
  STREAMBUS_TRY(to_result(under_test.engine().open(kKey, {}, {}, &log)));
  // An engine that promises to keep, and does not, is to fail the cases and not to skip them.
  traits->keeps = traits->durability != Durability::memory;
  (void)log->close();
  return {};
}

Result<> create_only(const LoadedPlugin& plugin, const OptionTexts& options) {
  FaultFileSystem files;
  StorageHost host(files);
  STREAMBUS_TRY_ASSIGN(const OptionValues values, checked_options(plugin, options));
  void* object = nullptr;
  STREAMBUS_TRY(to_result(plugin.descriptor().create(host, values, &object)));
  plugin.descriptor().destroy(object);
  return {};
}

}  // namespace

std::string build_id_of(const PluginDescriptor& descriptor) {
  BuildIdSearch search{reinterpret_cast<std::uintptr_t>(&descriptor), {}};
  ::dl_iterate_phdr(&visit_object, &search);
  return search.found;
}

Result<Traits> probe_plugin(const LoadedPlugin& plugin, const OptionTexts& options) {
  Traits traits;
  const std::string id = build_id_of(plugin.descriptor());
  id.copy(traits.build_id, sizeof traits.build_id - 1);
  if (auto values = checked_options(plugin, options); !values) return std::unexpected(values.error());
  switch (plugin.kind()) {
    case PluginKind::storage:
      STREAMBUS_TRY(probe_storage({std::string(plugin.name()), &plugin.descriptor(), options}, &traits));
      break;
    case PluginKind::transport:
      STREAMBUS_TRY(probe_transport(plugin, options, traits.address));
      break;
    case PluginKind::codec:
    case PluginKind::protocol:
      STREAMBUS_TRY(create_only(plugin, options));
      break;
  }
  return traits;
}

}  // namespace streambus::conformance
