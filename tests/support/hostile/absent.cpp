// A library that a plugin is linked with and that is not there when the plugin is loaded.
extern "C" [[gnu::visibility("default")]] int streambus_probe_absent() { return 0; }
