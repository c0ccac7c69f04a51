// What a port is opened with: names and values, whose meaning only its kind knows.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace rtloop {

class PortOptions {
  public:
    using Value = std::variant<int64_t, double, std::string, std::vector<float>>;

    PortOptions() = default;
    PortOptions(std::initializer_list<std::pair<const std::string, Value>> values)
        : values_(values) {}
    void set(const std::string &name, Value value) { values_[name] = std::move(value); }

    // Each throws std::invalid_argument when the option is missing or of another type.
    int64_t integer(const std::string &name) const { return get<int64_t>(name, "an integer"); }
    double number(const std::string &name) const {
        const auto found = values_.find(name);
        if (found != values_.end() && std::holds_alternative<int64_t>(found->second)) {
            return static_cast<double>(std::get<int64_t>(found->second));
        }
        return get<double>(name, "a number");
    }
    const std::string &text(const std::string &name) const {
        return get<std::string>(name, "a text");
    }
    const std::vector<float> &numbers(const std::string &name) const {
        return get<std::vector<float>>(name, "a list of numbers");
    }
    bool has(const std::string &name) const { return values_.count(name) != 0; }

  private:
    template <typename T>
    const T &get(const std::string &name, const char *what) const {
        const auto found = values_.find(name);
        const T *value = found == values_.end() ? nullptr : std::get_if<T>(&found->second);
        if (value == nullptr) {
            throw std::invalid_argument("the port's option '" + name + "' must be " + what);
        }
        return *value;
    }

    std::map<std::string, Value> values_;
};

}  // namespace rtloop
