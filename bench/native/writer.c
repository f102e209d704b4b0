/*
 * writer: fills its standard output for BENCH_MILLIS, with one write per
 * 100-byte line or (BENCH_BLOCKS) per 64 KiB of such lines. It begins when the
 * file BENCH_GO appears, and it is done when the reader has taken everything
 * out of the pipe, so that a large pipe gives no advantage.
 */
#include "tiny.h"

enum { LINE = 100, BLOCK = 65536, PIPE_BYTES = 0x541B /* FIONREAD */ };

static char block[BLOCK];

static void fill(void)
{
	for (int i = 0; i < BLOCK; i++)
		block[i] = (i % LINE == LINE - 1) ? '\n' : (char)('a' + i % LINE % 26);
	block[BLOCK - 1] = '\n';
}

static uint64_t write_until(uint64_t end, long size)
{
	uint64_t bytes = 0;
	int batch = size == LINE ? 64 : 1; /* the clock is looked at once per batch */

	while (now() < end)
		for (int i = 0; i < batch; i++) {
			long n = sys(__NR_write, 1, (long)block, size, 0);
			if (n < 0)
				quit(111);
			bytes += (uint64_t)n;
		}
	return bytes;
}

static void drain(void)
{
	int left = 0;
	while (sys(__NR_ioctl, 1, PIPE_BYTES, (long)&left, 0) == 0 && left > 0)
		pause_ns(200000);
}

void begin(long *sp)
{
	use_stack(sp);
	block_signals();
	open_report();
	fill();
	report(STARTED, 0);
	while (sys(__NR_faccessat, AT_CWD, (long)env("BENCH_GO"), 0, 0) != 0)
		pause_ns(1000000);
	report(BEGUN, 0);
	uint64_t bytes = write_until(now() + number(env("BENCH_MILLIS")) * 1000000u, env("BENCH_BLOCKS") ? BLOCK : LINE);
	drain();
	report(WRITTEN, bytes);
	wait_for_signal();
	report(ENDED, 0);
	quit(0);
}
