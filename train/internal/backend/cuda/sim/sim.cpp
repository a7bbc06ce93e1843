// A simulator of the CUDA driver for machines without a GPU: the entry points
// that package cuda calls, over host memory, with the kernels compiled for the
// host from the same source (twins.cpp). It is stricter than a GPU where that
// finds mistakes: memory has guard pages on both sides and begins poisoned,
// copies are checked against what was allocated, an embedded PTX whose entries
// or parameters differ from the twins is refused, and LORATOOL_SIM_ORDER=n
// runs the threads of a block in another order between two barriers, so that a
// missing barrier shows. LORATOOL_SIM_FAIL=n makes the n-th allocation fail.
#include "sim.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace {

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, LAUNCH_FAILED = 719 };

struct Block { size_t size, mapped; char *map; };
std::mutex mutex;
std::map<char *, Block> blocks; // by address
size_t used, allocations;
const size_t total_memory = size_t(8) << 30;
thread_local void *current;
int context;

size_t setting(const char *name) {
  const char *s = getenv(name);
  return s ? strtoull(s, nullptr, 10) : 0;
}

// inside reports whether n bytes at p lie in one allocation.
bool inside(const void *p, size_t n) {
  std::lock_guard<std::mutex> lock(mutex);
  auto it = blocks.upper_bound((char *)p);
  if (it == blocks.begin()) return false;
  --it;
  return (char *)p + n <= it->first + it->second.size;
}

struct Module { std::string ptx; };

// parameters counts the parameters of an entry of a PTX text, -1 without it.
int parameters(const std::string &ptx, const std::string &name) {
  size_t at = ptx.find(".entry " + name + "(");
  if (at == std::string::npos) return -1;
  size_t end = ptx.find(')', at);
  int n = 0;
  for (size_t i = ptx.find(".param", at); i < end; i = ptx.find(".param", i + 1)) n++;
  return n;
}

} // namespace

#pragma GCC visibility push(default)
extern "C" {

int cuInit(unsigned) { return getenv("LORATOOL_SIM_NO_DEVICE") ? NO_DEVICE : OK; }
int cuDriverGetVersion(int *v) { *v = 12000; return OK; }
int cuDeviceGetCount(int *n) { *n = 1; return OK; }
int cuDeviceGet(int *d, int i) { *d = 0; return i ? INVALID_VALUE : OK; }
int cuDeviceGetName(char *s, int n, int) { snprintf(s, n, "loratool simulator (no GPU)"); return OK; }
int cuDeviceTotalMem_v2(size_t *n, int) { *n = total_memory; return OK; }
int cuDeviceGetAttribute(int *v, int what, int) {
  *v = what == 75 ? 8 : what == 76 ? 0 : what == 16 ? 4 : 0; // compute capability 8.0, 4 processors
  return OK;
}
int cuDevicePrimaryCtxRetain(void **c, int) { *c = &context; return OK; }
int cuDevicePrimaryCtxRelease(int) { return OK; }
int cuDevicePrimaryCtxRelease_v2(int) { return OK; }
int cuCtxSetCurrent(void *c) { current = c; return OK; }
int cuCtxGetCurrent(void **c) { *c = current; return OK; }
int cuCtxSynchronize() { return current ? OK : INVALID_CONTEXT; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { *total = total_memory; *free = total_memory - used; return OK; }

int cuMemAlloc_v2(unsigned long long *out, size_t n) {
  if (!current) return INVALID_CONTEXT;
  if (n == 0) return INVALID_VALUE;
  std::lock_guard<std::mutex> lock(mutex);
  if (++allocations == setting("LORATOOL_SIM_FAIL") || n > total_memory - used) return OUT_OF_MEMORY;
  size_t page = sysconf(_SC_PAGESIZE), whole = (n + 15) / 16 * 16, body = (whole + page - 1) / page * page;
  char *map = (char *)mmap(nullptr, body + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED || mprotect(map + page, body, PROT_READ | PROT_WRITE)) return OUT_OF_MEMORY;
  char *p = map + page + body - whole; // ends at the guard page
  memset(p, 0xA5, n);
  blocks[p] = {n, body + 2 * page, map};
  used += n;
  *out = (unsigned long long)p;
  return OK;
}

int cuMemFree_v2(unsigned long long at) {
  std::lock_guard<std::mutex> lock(mutex);
  auto it = blocks.find((char *)at);
  if (it == blocks.end()) return INVALID_VALUE;
  munmap(it->second.map, it->second.mapped);
  used -= it->second.size;
  blocks.erase(it);
  return OK;
}

static int move(void *to, const void *from, size_t n, bool device_to, bool device_from) {
  if (!current) return INVALID_CONTEXT;
  if ((device_to && !inside(to, n)) || (device_from && !inside(from, n))) return INVALID_VALUE;
  memmove(to, from, n);
  return OK;
}
int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t n) { return move((void *)to, from, n, true, false); }
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t n) { return move(to, (void *)from, n, false, true); }
int cuMemcpyDtoD_v2(unsigned long long to, unsigned long long from, size_t n) { return move((void *)to, (void *)from, n, true, true); }
int cuMemsetD32_v2(unsigned long long to, unsigned v, size_t n) {
  if (!inside((void *)to, 4 * n)) return INVALID_VALUE;
  for (size_t i = 0; i < n; i++) ((unsigned *)to)[i] = v;
  return OK;
}

int cuModuleLoadData(void **out, const void *image) {
  std::string ptx((const char *)image);
  if (ptx.find(".version ") == std::string::npos || ptx.find(".target sm_") == std::string::npos) return INVALID_IMAGE;
  *out = new Module{ptx};
  return OK;
}
int cuModuleUnload(void *m) { delete (Module *)m; return OK; }
int cuModuleGetFunction(void **out, void *module, const char *name) {
  const Twin *twin = find_twin(name);
  int n = parameters(((Module *)module)->ptx, name);
  if (!twin || n < 0) return NOT_FOUND;
  if (n != twin->parameters) {
    fprintf(stderr, "simulator: kernel %s has %d parameters in the PTX, %d in its source\n", name, n, twin->parameters);
    return INVALID_IMAGE;
  }
  *out = (void *)twin;
  return OK;
}

int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *, void **params, void **extra) {
  if (!current) return INVALID_CONTEXT;
  if (gy != 1 || gz != 1 || by != 1 || bz != 1 || shared || extra || gx == 0 || gx > 0x7FFFFFFFu || bx == 0 || bx > 1024) return INVALID_VALUE;
  return run_twin((const Twin *)f, gx, bx, params, setting("LORATOOL_SIM_ORDER")) ? OK : LAUNCH_FAILED;
}

int cuGetErrorName(int, const char **s) { *s = "simulated error"; return OK; }
int cuGetErrorString(int, const char **s) { *s = "simulated error"; return OK; }

} // extern "C"
#pragma GCC visibility pop
