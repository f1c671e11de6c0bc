// A device guard for CUDA where PyTorch has none: two devices, one stream each, nothing behind them.
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

thread_local c10::DeviceIndex current = 0;

struct PretendedGuard : public c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }

  c10::Device exchangeDevice(c10::Device device) const override {
    c10::Device before = getDevice();
    uncheckedSetDevice(device);
    return before;
  }

  c10::Device getDevice() const override { return {c10::DeviceType::CUDA, current}; }

  void setDevice(c10::Device device) const override { uncheckedSetDevice(device); }

  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.index() >= 0) current = device.index();
  }

  c10::Stream getStream(c10::Device device) const noexcept override {
    auto index = device.index() >= 0 ? device.index() : current;
    return c10::Stream(c10::Stream::DEFAULT, c10::Device(c10::DeviceType::CUDA, index));
  }

  c10::Stream getNewStream(c10::Device device, int = 0) const override {
    return getStream(device);
  }

  c10::Stream exchangeStream(c10::Stream stream) const noexcept override {
    return getStream(stream.device());
  }

  c10::DeviceIndex deviceCount() const noexcept override { return 2; }
};

c10::impl::DeviceGuardImplRegistrar registered(c10::DeviceType::CUDA, new PretendedGuard());

}  // namespace
