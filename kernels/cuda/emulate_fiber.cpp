/* kernels/cuda/emulate_fiber.cpp - the switch. */
#include "kernels/cuda/emulate_fiber.h"

#include <string.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__
#define HAS_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#if defined __SANITIZE_THREAD__
#define HAS_TSAN 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif

#ifdef HAS_ASAN
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES (1024 * 1024) /* its frames are large; pages that are never touched cost nothing */
#else
#define STACK_BYTES (256 * 1024)
#endif
#ifdef HAS_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* What a function must find unchanged after a call goes on the stack; the stack's own address says the rest. */
#if defined __x86_64__
extern "C" void emulate_fiber_jump(void **from, void *to);
asm(R"(
    .text
    .globl emulate_fiber_jump
    .type emulate_fiber_jump, @function
emulate_fiber_jump:
    .cfi_startproc
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
    .cfi_endproc
    .size emulate_fiber_jump, . - emulate_fiber_jump
)");

static void prepare(struct fiber *fiber, void (*entry)(void))
{
    uintptr_t top = ((uintptr_t)fiber->stack + fiber->stack_bytes) & ~(uintptr_t)63;
    void **at = (void **)top - 1; /* as after a call: eight bytes off a multiple of 16 */
    *--at = (void *)entry;
    memset(at - 6, 0, 6 * sizeof *at);
    fiber->context = at - 6;
}
#elif defined __aarch64__
extern "C" void emulate_fiber_jump(void **from, void *to);
asm(R"(
    .text
    .globl emulate_fiber_jump
    .type emulate_fiber_jump, %function
emulate_fiber_jump:
    .cfi_startproc
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .cfi_endproc
    .size emulate_fiber_jump, . - emulate_fiber_jump
)");

static void prepare(struct fiber *fiber, void (*entry)(void))
{
    uintptr_t top = ((uintptr_t)fiber->stack + fiber->stack_bytes) & ~(uintptr_t)63;
    void **at = (void **)top - 20;
    memset(at, 0, 160);
    at[11] = (void *)entry; /* x30 */
    fiber->context = at;
}
#else
#include <stdlib.h>
#include <ucontext.h>

static void emulate_fiber_jump(void **from, void *to)
{
    if (!*from)
        *from = calloc(1, sizeof(ucontext_t));
    swapcontext((ucontext_t *)*from, (ucontext_t *)to);
}

static void prepare(struct fiber *fiber, void (*entry)(void))
{
    ucontext_t *context = (ucontext_t *)calloc(1, sizeof *context);
    getcontext(context);
    context->uc_stack.ss_sp = fiber->stack;
    context->uc_stack.ss_size = fiber->stack_bytes;
    makecontext(context, entry, 0);
    fiber->context = context;
}
#endif

#ifdef HAS_ASAN
static struct fiber *came_from; /* by one thread at a time: emulate.cpp holds a lock */

static void arrived(struct fiber *me)
{
    const void *stack;
    size_t n_bytes;
    __sanitizer_finish_switch_fiber(me ? me->fake : NULL, &stack, &n_bytes);
    came_from->stack = (void *)stack;
    came_from->stack_bytes = n_bytes;
}
#endif

bool fiber_init(struct fiber *fiber, void (*entry)(void))
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *at = mmap(NULL, page + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return false;
    mprotect(at, page, PROT_NONE); /* a stack that is too small ends the program and not its neighbour */
    memset(fiber, 0, sizeof *fiber);
    fiber->stack = (char *)at + page;
    fiber->stack_bytes = STACK_BYTES;
    prepare(fiber, entry);
#ifdef HAS_TSAN
    fiber->tsan = __tsan_create_fiber(0);
#endif
    return true;
}

void fiber_adopt(struct fiber *fiber)
{
    (void)fiber;
#ifdef HAS_TSAN
    fiber->tsan = __tsan_get_current_fiber();
#endif
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
#ifdef HAS_TSAN
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
#ifdef HAS_ASAN
    came_from = from;
    __sanitizer_start_switch_fiber(&from->fake, to->stack, to->stack_bytes);
#endif
    emulate_fiber_jump(&from->context, to->context);
#ifdef HAS_ASAN
    arrived(from);
#endif
}

void fiber_begin(void)
{
#ifdef HAS_ASAN
    arrived(NULL);
#endif
}
