/*
 * tiny.h: just enough to write programs without libc, so that starting one
 * costs the kernel's work (about 0.06 ms) and not the dynamic loader's (0.7 ms):
 * what is left to measure is the supervisor.
 *
 * Every program reports to the file named by BENCH_REPORT with one O_APPEND
 * write of a struct record. A plain file wakes nobody, and the time stamp is
 * the writer's own, so the observer may look late without measuring late.
 */
#include <asm/unistd.h>
#include <stdint.h>

#if defined(__x86_64__)
static inline long sys(long n, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall begin\n\thlt\n");
#elif defined(__aarch64__)
static inline long sys(long n, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x0,sp\n\tbl begin\n");
#else
#error "bench: only x86_64 and aarch64 are known"
#endif

enum { AT_CWD = -100, OPEN_WRONLY = 1, OPEN_APPEND = 02000, OPEN_CLOEXEC = 02000000 };
enum { SIG_USR1 = 10, SIG_TERM = 15, MONOTONIC = 1 };

/* Kinds of record; bench/report.go has the same list. */
enum { STARTED = 1, ENDED = 2, BEGUN = 3, WRITTEN = 4 };

struct record {
	uint64_t ns;    /* CLOCK_MONOTONIC */
	uint32_t pid;
	uint32_t kind;
	uint64_t value; /* STARTED: BENCH_TAG; WRITTEN: bytes */
};

static char **environment;
static long report_fd;

/* The kernel puts argc, argv, NULL, envp, NULL on the stack. */
static void use_stack(long *sp)
{
	environment = (char **)(sp + 1 + sp[0] + 1);
}

static const char *env(const char *name)
{
	for (char **e = environment; *e; e++) {
		const char *a = *e, *b = name;
		while (*b && *a == *b)
			a++, b++;
		if (!*b && *a == '=')
			return a + 1;
	}
	return 0;
}

static uint64_t number(const char *s)
{
	uint64_t n = 0;
	for (; s && *s >= '0' && *s <= '9'; s++)
		n = n * 10 + (uint64_t)(*s - '0');
	return n;
}

static uint64_t now(void)
{
	long ts[2];
	sys(__NR_clock_gettime, MONOTONIC, (long)ts, 0, 0);
	return (uint64_t)ts[0] * 1000000000u + (uint64_t)ts[1];
}

static void pause_ns(long ns)
{
	long ts[2] = {0, ns};
	sys(__NR_nanosleep, (long)ts, 0, 0, 0);
}

static void quit(int code)
{
	for (;;)
		sys(__NR_exit_group, code, 0, 0, 0);
}

static void report(uint32_t kind, uint64_t value)
{
	struct record r = {now(), (uint32_t)sys(__NR_getpid, 0, 0, 0, 0), kind, value};
	sys(__NR_write, report_fd, (long)&r, sizeof r, 0);
}

static void open_report(void)
{
	const char *path = env("BENCH_REPORT");
	report_fd = path ? sys(__NR_openat, AT_CWD, (long)path, OPEN_WRONLY | OPEN_APPEND | OPEN_CLOEXEC, 0) : -1;
	if (report_fd < 0)
		quit(111);
}

/* Signals are blocked and waited for rather than handled: no restorer, no race. */
static uint64_t signals = 1u << (SIG_USR1 - 1) | 1u << (SIG_TERM - 1);

static void block_signals(void)
{
	sys(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&signals, 0, sizeof signals);
}

static void wait_for_signal(void)
{
	while (sys(__NR_rt_sigtimedwait, (long)&signals, 0, 0, sizeof signals) < 0)
		;
}
