package keeper

import "testing"

// What an older or newer binary hands over is understood or refused.
func FuzzHandover(f *testing.F) {
	f.Add([]byte(`{"version":1,"slots":[{"name":"orders/0","spec":{}},{"spec":null}]}`))
	f.Add([]byte(`{"version":99}`))
	f.Add([]byte(`{"version":1,"slots":[{"run":{"pid":-1}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := decodeHandover(text)
		if err == nil && h.Version < 1 {
			t.Errorf("version %d was taken", h.Version)
		}
	})
}
