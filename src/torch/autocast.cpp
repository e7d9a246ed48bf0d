// Autocast regions.

#include "guard.h"
#include "shim.h"

#include <ATen/autocast_mode.h>

extern "C" {

char *regun_enter_autocast(bool cuda, int dtype, RegunAutocastState *before) {
  return guarded([&] {
    const auto type = cuda ? at::kCUDA : at::kCPU;
    const auto wanted = static_cast<at::ScalarType>(dtype);
    *before = {cuda, at::autocast::is_autocast_enabled(type),
               static_cast<int>(at::autocast::get_autocast_dtype(type))};
    at::autocast::set_autocast_enabled(type, wanted != at::kFloat);
    if (wanted != at::kFloat)
      at::autocast::set_autocast_dtype(type, wanted);
    at::autocast::increment_nesting();
  });
}

char *regun_leave_autocast(RegunAutocastState before) {
  return guarded([&] {
    const auto type = before.cuda ? at::kCUDA : at::kCPU;
    // Weights change after the outermost region, so their casts are dropped.
    if (at::autocast::decrement_nesting() == 0)
      at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type, before.enabled);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(before.dtype));
  });
}

} // extern "C"
