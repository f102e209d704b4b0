package health

import "context"

// Elsewhere says where a queue may be that seems to be empty, or to be missing; "" = the
// connection cannot tell, or has found nothing. It returns within the timeout, on a
// connection of its own.
func Elsewhere(ctx context.Context, s Spec, q Queue) (hint string) {
	ctx, cancel := context.WithTimeout(ctx, Timeout(s))
	defer cancel()
	defer func() {
		if recover() != nil {
			hint = "" // it would have been a help, no more
		}
	}()
	conn, err := s.Open()
	if err != nil {
		return ""
	}
	defer closeQuietly(conn)
	finder, able := conn.(Finder)
	if !able {
		return ""
	}
	stop := context.AfterFunc(ctx, func() { closeQuietly(conn) })
	defer stop()
	if hint, err = finder.Elsewhere(ctx, q); err != nil {
		return ""
	}
	return redact(conn, hint)
}
