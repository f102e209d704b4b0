package health

import "context"

// Elsewhere says where a queue may be that seems to be empty, or to be missing; "" = the
// connection cannot tell, or has found nothing. It returns within the timeout, on a
// connection of its own.
func Elsewhere(ctx context.Context, s Spec, q Queue) (hint string) {
	ctx, cancel := context.WithTimeout(ctx, Timeout(s))
	defer cancel()
	// An error says nothing to whoever asks: it would have been a help, no more.
	_ = aside(ctx, s, func(conn Conn) error {
		finder, able := conn.(Finder)
		if !able {
			return nil
		}
		found, err := finder.Elsewhere(ctx, q)
		hint = redact(conn, found)
		return err
	})
	return hint
}
