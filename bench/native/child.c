/*
 * child: what the supervisors keep running. Says that it runs, waits without
 * using anything, exits 0 on TERM or USR1 and says so.
 */
#include "tiny.h"

void begin(long *sp)
{
	use_stack(sp);
	block_signals();
	open_report();
	const char *notify = env("BENCH_NOTIFY"); /* s6: descriptor for "I am ready" */
	if (notify) {
		sys(__NR_write, (long)number(notify), (long)"\n", 1, 0);
		sys(__NR_close, (long)number(notify), 0, 0, 0);
	}
	report(STARTED, number(env("BENCH_TAG")));
	wait_for_signal();
	report(ENDED, 0);
	quit(0);
}
