# What `cmake --install` leaves, and the CMake package for embedding and for plugins built elsewhere.
