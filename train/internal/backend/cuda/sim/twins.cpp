// The kernels as functions of the host, and the threads of a block as fibers:
// each runs to its next barrier, then the next one does.
#include "../kernels.cu"

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "sim.h"

thread_local index3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

template <class... A, size_t... I>
void spread(void (*f)(A...), void **p, std::index_sequence<I...>) { f(*(A *)p[I]...); }

template <class F> struct Count;
template <class... A> struct Count<void(A...)> {
  static constexpr int value = sizeof...(A);
  static void call(void (*f)(A...), void **p) { spread(f, p, std::index_sequence_for<A...>{}); }
};

#define TWIN(name) {#name, Count<decltype(name)>::value, [](void **p) { Count<decltype(name)>::call(name, p); }, #name[0] == 'b' && #name[1] == '_'}

const Twin twins[] = {
    TWIN(fill), TWIN(copy), TWIN(to_bf16), TWIN(add), TWIN(scale), TWIN(add_bias), TWIN(scale_cols), TWIN(divide),
    TWIN(swiglu_fwd), TWIN(swiglu_bwd), TWIN(gelu_fwd), TWIN(gelu_bwd), TWIN(rope), TWIN(dropout), TWIN(gather), TWIN(scatter),
    TWIN(col_sum), TWIN(b_norm_fwd), TWIN(b_norm_bwd), TWIN(b_row_squares), TWIN(row_norms), TWIN(b_attn_fwd), TWIN(b_attn_dq),
    TWIN(b_attn_dkv), TWIN(b_cross_entropy), TWIN(adamw), TWIN(b_gemm),
};

const size_t stack_size = 64 << 10;

#if defined(__x86_64__)
// A switch of stacks: the registers that the System V ABI has a callee keep.
extern "C" void fiber_switch(void **from, void *to);
asm(R"(
.text
.globl fiber_switch
.hidden fiber_switch
fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#endif

struct Fiber {
  std::vector<char> stack;
#if defined(__x86_64__)
  void *sp;
#else
  ucontext_t at;
#endif
  bool done;
  unsigned thread;
};

// A Team runs the threads of one block.
struct Team {
  std::vector<Fiber> fibers;
  Fiber *running;
#if defined(__x86_64__)
  void *home;
#else
  ucontext_t home;
#endif
  const Twin *twin;
  void **params;
};
thread_local Team team;

void yield_home() {
#if defined(__x86_64__)
  fiber_switch(&team.running->sp, team.home);
#else
  swapcontext(&team.running->at, &team.home);
#endif
}

void body() {
  team.twin->call(team.params);
  team.running->done = true;
  yield_home();
  abort(); // a finished thread does not go on
}

void start(Fiber &f) {
  f.stack.resize(stack_size);
  f.done = false;
#if defined(__x86_64__)
  char *top = (char *)((size_t)(f.stack.data() + stack_size) & ~size_t(15));
  void **sp = (void **)top;
  *--sp = nullptr;      // the address body would return to, for alignment
  *--sp = (void *)body; // where the first switch returns to
  for (int i = 0; i < 6; i++) *--sp = nullptr;
  f.sp = sp;
#else
  getcontext(&f.at);
  f.at.uc_stack.ss_sp = f.stack.data();
  f.at.uc_stack.ss_size = stack_size;
  f.at.uc_link = nullptr;
  makecontext(&f.at, body, 0);
#endif
}

void resume(Fiber &f) {
  team.running = &f;
  threadIdx = {f.thread, 0, 0};
#if defined(__x86_64__)
  fiber_switch(&team.home, f.sp);
#else
  swapcontext(&team.home, &f.at);
#endif
}

// phase runs every thread to its next barrier; it returns how many ended.
unsigned phase(unsigned block, unsigned long order, unsigned long round) {
  unsigned done = 0;
  for (unsigned i = 0; i < block; i++) {
    // An odd factor permutes a power of two.
    unsigned t = order ? (i * (unsigned)(2 * (order + round) + 1) + (unsigned)order) & (block - 1) : i;
    if ((block & (block - 1)) != 0) t = order ? block - 1 - i : i;
    resume(team.fibers[t]);
    done += team.fibers[t].done;
  }
  return done;
}

bool run_block(unsigned block, unsigned long order) {
  for (unsigned t = 0; t < block; t++) {
    team.fibers[t].thread = t;
    start(team.fibers[t]);
  }
  for (unsigned long round = 0;; round++) {
    unsigned done = phase(block, order, round);
    if (done == block) return true;
    if (done) {
      fprintf(stderr, "simulator: kernel %s: %u of %u threads ended, the others wait at a barrier\n", team.twin->name, done, block);
      return false;
    }
  }
}

} // namespace

void __syncthreads() {
  if (!team.twin->barriers) {
    fprintf(stderr, "simulator: kernel %s has a barrier that its name does not tell of\n", team.twin->name);
    abort();
  }
  yield_home();
}

const Twin *find_twin(const char *name) {
  for (const Twin &t : twins)
    if (!strcmp(t.name, name)) return &t;
  return nullptr;
}

bool run_twin(const Twin *twin, unsigned grid, unsigned block, void **params, unsigned long order) {
  gridDim = {grid, 1, 1};
  blockDim = {block, 1, 1};
  team.twin = twin;
  team.params = params;
  if (twin->barriers && team.fibers.size() < block) team.fibers.resize(block);
  for (unsigned b = 0; b < grid; b++) {
    blockIdx = {b, 0, 0};
    if (twin->barriers) {
      if (!run_block(block, order)) return false;
      continue;
    }
    for (unsigned t = 0; t < block; t++) {
      threadIdx = {t, 0, 0};
      twin->call(params);
    }
  }
  return true;
}
