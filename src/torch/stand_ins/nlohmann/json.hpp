// Stands in for the header of the library nlohmann-json, which libtorch's headers of functorch include and wheels of
// PyTorch do not bring. They use it in inline functions that write an interpreter as text. Nothing calls those, so these
// declarations have no definitions.

#pragma once

#include <string>

namespace nlohmann {

class json {
public:
  json() = default;
  template <typename T> explicit json(const T &value);
  static json parse(const std::string &text);
  std::string dump() const;
  template <typename T> T get() const;
};

} // namespace nlohmann
