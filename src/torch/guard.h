// No exception crosses the language border: every fallible function of the shim runs its body in `guarded`.

#pragma once
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

// Runs `body`. Returns NULL, or the text of its exception, which the caller owns.
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
