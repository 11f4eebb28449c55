// A device for tests, named "simulated": its memory is the CPU's, and so are its kernels.
//
// It has what the CPU lacks when it stands in for an accelerator: another kind of tensor, pinned
// memory, random numbers and a limited memory of its own, and a mode that forbids to wait.
// It uses torch's key for devices outside of torch, PrivateUse1:
// https://docs.pytorch.org/tutorials/advanced/privateuseone.html

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/extension.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <set>

namespace {

constexpr auto TYPE = c10::DeviceType::PrivateUse1;
const c10::Device DEVICE(TYPE, 0);

// -- waiting --------------------------------------------------------------------------------------

std::atomic<bool> waiting_is_forbidden{false};

void wait(const std::string& operation) {
  TORCH_CHECK(!waiting_is_forbidden, "called a synchronizing operation: ", operation);
}

// While a kernel of the CPU runs for the device, it may read the tensors as often as it needs.
struct AllowWaiting {
  bool was_forbidden = waiting_is_forbidden.exchange(false);
  ~AllowWaiting() { waiting_is_forbidden = was_forbidden; }
};

// -- memory ---------------------------------------------------------------------------------------

std::atomic<int64_t> allocated{0}, peak{0}, limit{0};  // bytes; a limit of 0 is none
constexpr size_t HEADER_BYTES = 64;  // before each block, to remember its size

void free_block(void* pointer) {
  if (pointer == nullptr) return;
  void* block = static_cast<char*>(pointer) - HEADER_BYTES;
  allocated -= *static_cast<int64_t*>(block);
  c10::free_cpu(block);
}

struct Allocator final : c10::DeviceAllocator {
  c10::DataPtr allocate(size_t size) override {
    if (size == 0) return {nullptr, nullptr, &free_block, DEVICE};
    int64_t bytes = static_cast<int64_t>(size);
    TORCH_CHECK_WITH(
        OutOfMemoryError, limit == 0 || allocated + bytes <= limit,
        "simulated out of memory. Tried to allocate ", size, " bytes");
    void* block = c10::alloc_cpu(size + HEADER_BYTES);
    *static_cast<int64_t*>(block) = bytes;
    allocated += bytes;
    peak = std::max(peak.load(), allocated.load());
    void* pointer = static_cast<char*>(block) + HEADER_BYTES;
    return {pointer, pointer, &free_block, DEVICE};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* target, const void* source, size_t size) const override {
    std::memcpy(target, source, size);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override {
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[0].current = allocated;
    stats.allocated_bytes[0].peak = peak;
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override { peak = allocated.load(); }
};
Allocator allocator;
REGISTER_ALLOCATOR(TYPE, &allocator);

std::mutex pinned_mutex;
std::set<const void*> pinned_blocks;

void free_pinned(void* pointer) {
  {
    std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned_blocks.erase(pointer);
  }
  c10::free_cpu(pointer);
}

struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* pointer = c10::alloc_cpu(std::max<size_t>(size, 1));
    std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned_blocks.insert(pointer);
    return {pointer, pointer, &free_pinned, c10::Device(at::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* target, const void* source, size_t size) const override {
    std::memcpy(target, source, size);
  }
};
PinnedAllocator pinned_allocator;

// -- the device -----------------------------------------------------------------------------------

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr auto static_type = TYPE;
  c10::DeviceType type() const override { return TYPE; }
  c10::Device exchangeDevice(c10::Device) const override { return DEVICE; }
  c10::Device getDevice() const override { return DEVICE; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, DEVICE);
  }
  c10::Stream getNewStream(c10::Device, int) const override { return getStream(DEVICE); }
  c10::Stream exchangeStream(c10::Stream) const override { return getStream(DEVICE); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag)
      const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { wait("synchronize"); }
  void synchronizeDevice(const c10::DeviceIndex) const override { wait("synchronize"); }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Generator final : at::CPUGeneratorImpl {
  explicit Generator(uint64_t seed = c10::detail::getNonDeterministicRandom())
      : at::CPUGeneratorImpl(seed) {
    device_ = DEVICE;
    key_set_ = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
  }
};

const at::Generator& default_generator() {
  static const at::Generator generator = at::make_generator<Generator>();
  return generator;
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  at::Device getDeviceFromPtr(void*) const override { return DEVICE; }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
  bool isPinnedPtr(const void* pointer) const override {
    std::lock_guard<std::mutex> lock(pinned_mutex);
    return pinned_blocks.count(pointer) > 0;
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return default_generator();
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::make_generator<Generator>();
  }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t size) const override {
    auto memory = allocator.allocate(size);
    std::memcpy(memory.get(), storage.data(), std::min(size, storage.nbytes()));
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(memory));
    storage.unsafeGetStorageImpl()->set_nbytes(size);
  }
};

// -- tensors --------------------------------------------------------------------------------------

using Dtype = std::optional<at::ScalarType>;
using Layout = std::optional<at::Layout>;
using DeviceChoice = std::optional<at::Device>;
using Pin = std::optional<bool>;
const c10::DispatchKeySet KEYS(c10::DispatchKey::PrivateUse1);

at::Tensor empty(
    at::IntArrayRef size, Dtype dtype, Layout, DeviceChoice, Pin,
    std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator, KEYS, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(
    at::IntArrayRef size, at::IntArrayRef stride, Dtype dtype, Layout, DeviceChoice, Pin) {
  return at::detail::empty_strided_generic(
      size, stride, &allocator, KEYS, c10::dtype_or_default(dtype));
}

// A tensor of the CPU with the memory of a tensor of the device.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.is_cpu()) return tensor;
  const auto& memory = tensor.storage();
  c10::Storage storage(
      c10::Storage::use_byte_size_t(), memory.nbytes(),
      c10::DataPtr(memory.mutable_data(), c10::Device(at::kCPU)), nullptr, false);
  at::Tensor result = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), tensor.dtype());
  result.unsafeGetTensorImpl()->set_storage_offset(tensor.storage_offset());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  return result;
}

std::optional<at::Tensor> on_cpu(const std::optional<at::Tensor>& tensor) {
  return tensor.has_value() ? std::optional<at::Tensor>(on_cpu(*tensor)) : std::nullopt;
}

at::Tensor on_device(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  at::Tensor result = at::detail::empty_strided_generic(
      tensor.sizes(), tensor.strides(), &allocator, KEYS, tensor.scalar_type());
  on_cpu(result).copy_(tensor);
  return result;
}

at::Tensor copy_from(const at::Tensor& source, const at::Tensor& target, bool non_blocking) {
  if (target.is_cpu()) {
    wait("a copy to the CPU");
  } else if (source.is_cpu() && !non_blocking) {
    wait("a blocking copy to the device");
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  on_cpu(target).copy_(on_cpu(source));
  return target;
}

at::Tensor copy_from_and_resize(const at::Tensor& source, const at::Tensor& target) {
  target.resize_(source.sizes());
  return copy_from(source, target, true);
}

at::Scalar to_number(const at::Tensor& tensor) {
  wait("a number of a tensor");
  return at::_local_scalar_dense(on_cpu(tensor));
}

at::Tensor as_strided(
    const at::Tensor& tensor, at::IntArrayRef size, at::IntArrayRef stride,
    std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(tensor, size, stride, offset);
}

const at::Tensor& resize(
    const at::Tensor& tensor, at::SymIntArrayRef size, std::optional<at::MemoryFormat> format) {
  return at::native::resize_(tensor, C10_AS_INTARRAYREF_SLOW(size), format);
}

at::Tensor& set_storage(
    at::Tensor& tensor, at::Storage storage, int64_t offset, at::IntArrayRef size,
    at::IntArrayRef stride) {
  tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  tensor.unsafeGetTensorImpl()->set_storage_offset(offset);
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
  return tensor;
}

at::Tensor& set_full_storage(at::Tensor& tensor, at::Storage storage) {
  int64_t count = static_cast<int64_t>(storage.nbytes() / tensor.itemsize());
  return set_storage(tensor, std::move(storage), 0, {count}, {1});
}

// -- kernels that the fallback to the CPU does not cover ------------------------------------------

at::Tensor convolution(
    const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
    at::IntArrayRef output_padding, int64_t groups) {
  return on_device(at::convolution(
      on_cpu(input), on_cpu(weight), on_cpu(bias), stride, padding, dilation, transposed,
      output_padding, groups));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& input, const at::Tensor& weight,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
    at::IntArrayRef output_padding, int64_t groups, std::array<bool, 3> mask) {
  auto [of_input, of_weight, of_bias] = at::convolution_backward(
      on_cpu(gradient), on_cpu(input), on_cpu(weight), weight.size(0), stride, padding, dilation,
      transposed, output_padding, groups, mask);
  return {on_device(of_input), on_device(of_weight), on_device(of_bias)};
}

// It changes the running statistics, which its schema does not say.
std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm(
    const at::Tensor& input, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& mean,
    const std::optional<at::Tensor>& variance, bool training, double momentum, double epsilon) {
  auto [output, save_mean, save_inverse] = at::native_batch_norm(
      on_cpu(input), on_cpu(weight), on_cpu(bias), on_cpu(mean), on_cpu(variance), training,
      momentum, epsilon);
  return {on_device(output), on_device(save_mean), on_device(save_inverse)};
}

// Random numbers of dropout come from the generator of the device.
at::Tensor draw_bernoulli(const at::Tensor& tensor, double p) {
  auto generator = at::detail::createCPUGenerator();
  generator.set_state(default_generator().get_state());
  on_cpu(tensor).bernoulli_(p, generator);
  default_generator().unsafeGetGeneratorImpl()->set_state(
      *generator.get_state().unsafeGetTensorImpl());
  return tensor;
}

at::Tensor& bernoulli(at::Tensor& tensor, double p, std::optional<at::Generator>) {
  draw_bernoulli(tensor, p);
  return tensor;
}

std::tuple<at::Tensor, at::Tensor> dropout(
    const at::Tensor& input, double p, std::optional<bool> train) {
  auto keep = draw_bernoulli(at::ones_like(input), train.value_or(true) ? 1 - p : 1.0);
  return {input * keep / (train.value_or(true) ? 1 - p : 1.0), keep.to(at::kBool)};
}

// All other kernels.
void run_on_cpu(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  static const std::set<std::string> WAITS = {
      "aten::nonzero", "aten::masked_select", "aten::bincount", "aten::equal", "aten::_unique2"};
  // As on a GPU, these take indices or counters of the CPU too.
  static const std::vector<std::string> MIXES = {"aten::index", "aten::_foreach", "aten::_fused"};
  const auto& name = op.schema().name();
  if (WAITS.count(name) > 0) wait(name);
  bool has_cpu = false, has_device = false;
  auto look = [&](const at::Tensor& tensor) {
    has_cpu |= tensor.defined() && tensor.is_cpu() && tensor.dim() > 0;
    has_device |= tensor.defined() && !tensor.is_cpu();
  };
  for (const auto& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (value.isTensor()) look(value.toTensor());
    if (value.isTensorList()) for (const auto& tensor : value.toTensorVector()) look(tensor);
  }
  bool mixes = std::any_of(MIXES.begin(), MIXES.end(), [&](const std::string& prefix) {
    return name.rfind(prefix, 0) == 0;
  });
  TORCH_CHECK(
      mixes || !has_cpu || !has_device, "Expected all tensors to be on the same device: ", name);
  AllowWaiting allowed;
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("_local_scalar_dense", to_number);
  library.impl("as_strided", as_strided);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("unfold", at::native::unfold);
  library.impl("resize_", resize);
  library.impl("set_.source_Storage_storage_offset", set_storage);
  library.impl("set_.source_Storage", set_full_storage);
  library.impl("convolution_overrideable", convolution);
  library.impl("convolution_backward_overrideable", convolution_backward);
  library.impl("native_batch_norm", batch_norm);
  library.impl("bernoulli_.float", bernoulli);
  library.impl("native_dropout", dropout);
}

// -- autocast -------------------------------------------------------------------------------------

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFallthrough());
}

using namespace at;  // the macros expect it
using namespace at::autocast;

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  KERNEL_PRIVATEUSEONE(linear, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(matmul, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(conv2d, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(conv2d, padding, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(nll_loss, fp32)
  KERNEL_PRIVATEUSEONE(cross_entropy_loss, fp32)
  KERNEL_PRIVATEUSEONE(binary_cross_entropy_with_logits, fp32)
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  module.def("forbid_waiting", [](bool is_forbidden) { waiting_is_forbidden = is_forbidden; });
  module.def("set_memory_limit", [](int64_t bytes) { limit = bytes; });
  module.def("get_rng_state", [] { return default_generator().get_state(); });
  module.def("set_rng_state", [](const at::Tensor& state) {
    default_generator().unsafeGetGeneratorImpl()->set_state(*state.unsafeGetTensorImpl());
  });
  module.def("manual_seed", [](uint64_t seed) {
    default_generator().unsafeGetGeneratorImpl()->set_current_seed(seed);
  });
}
