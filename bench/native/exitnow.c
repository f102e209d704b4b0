/* exitnow: says that it ran and exits 0 at once. */
#include "tiny.h"

void begin(long *sp)
{
	use_stack(sp);
	open_report();
	report(STARTED, 0);
	quit(0);
}
