// No exception crosses the language border: the shim's functions run their bodies in here.

#pragma once
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

// Runs `body`; what it throws becomes a text that the caller owns.
template <typename Body> char *guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("a C++ exception without a message");
  }
}
