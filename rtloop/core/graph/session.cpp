#include "rtloop/core/graph/session.hpp"

#include "rtloop/core/cycle/probe.hpp"

namespace rtloop {

Runtime::Runtime(const std::string &library) : api_(library) {
    ort::Env *env = nullptr;
    api_.check(api_.create_env(ort::kLogFatal, "rtloop", &env), "ONNX Runtime");
    env_ = {env, api_.release_env};
    ort::SessionOptions *options = nullptr;
    api_.check(api_.create_session_options(&options), "session options");
    options_ = {options, api_.release_session_options};
    // One thread and no pool: nothing else to wake, nothing that spins.
    api_.check(api_.set_intra_op_num_threads(options, 1), "session options");
    api_.check(api_.set_inter_op_num_threads(options, 1), "session options");
    ort::MemoryInfo *memory = nullptr;
    api_.check(api_.create_cpu_memory_info(ort::kDeviceAllocator, ort::kMemTypeDefault, &memory),
               "memory info");
    memory_ = {memory, api_.release_memory_info};
}

Session::Session(const Runtime &runtime, const std::string &model, const std::vector<Bound> &inputs,
                 const std::vector<Bound> &outputs)
    : runtime_(runtime) {
    const ort::Api &api = runtime_.api();
    ort::Session *session = nullptr;
    api.check(api.create_session_from_array(runtime_.env(), model.data(), model.size(),
                                            runtime_.options(), &session),
              "cannot load the graph");
    session_ = {session, api.release_session};
    bind(inputs, inputs_);
    bind(outputs, outputs_);
}

void Session::bind(const std::vector<Bound> &tensors, Side &side) {
    const ort::Api &api = runtime_.api();
    for (const auto &[name, tensor] : tensors) {
        ort::Value *value = nullptr;
        api.check(api.create_tensor_with_data(runtime_.memory(), tensor->data(), tensor->bytes(),
                                              tensor->shape().data(), tensor->shape().size(),
                                              static_cast<int>(tensor->type()), &value),
                  "tensor");
        side.owned.emplace_back(value, api.release_value);
        side.values.push_back(value);
        side.names.push_back(name);
    }
    for (const std::string &name : side.names) side.c_names.push_back(name.c_str());
}

ort::Status *Session::run() noexcept {
    if (rtloop_probe_run != nullptr) rtloop_probe_run(1);
    ort::Status *status =
        runtime_.api().run(session_.get(), nullptr, inputs_.c_names.data(), inputs_.values.data(),
                           inputs_.values.size(), outputs_.c_names.data(), outputs_.values.size(),
                           outputs_.values.data());
    if (rtloop_probe_run != nullptr) rtloop_probe_run(0);
    return status;
}

}  // namespace rtloop
