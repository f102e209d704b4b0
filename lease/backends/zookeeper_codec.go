package backends

import "encoding/binary"

// zkWriter makes a request.
type zkWriter struct{ body []byte }

func (w *zkWriter) int32(n int32) { w.body = binary.BigEndian.AppendUint32(w.body, uint32(n)) }
func (w *zkWriter) int64(n int64) { w.body = binary.BigEndian.AppendUint64(w.body, uint64(n)) }
func (w *zkWriter) bytes(b []byte) {
	w.int32(int32(len(b)))
	w.body = append(w.body, b...)
}
func (w *zkWriter) string(s string) { w.bytes([]byte(s)) }
func (w *zkWriter) bool(b bool) {
	n := byte(0)
	if b {
		n = 1
	}
	w.body = append(w.body, n)
}

func (w *zkWriter) multi(op int32, done bool) {
	w.int32(op)
	w.bool(done)
	w.int32(-1)
}

func (w *zkWriter) frame() []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(w.body))), w.body...)
}

// zkReader reads an answer; bad: it was too short.
type zkReader struct {
	rest []byte
	bad  bool
}

func (r *zkReader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, min(max(n, 0), 8))
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *zkReader) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }
func (r *zkReader) int64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }
func (r *zkReader) bool() bool   { return r.take(1)[0] != 0 }

func (r *zkReader) bytes() []byte {
	n := r.int32()
	if n < 0 { // null
		return nil
	}
	return r.take(int(n))
}

func (r *zkReader) stat() zkStat {
	s := zkStat{created: r.int64(), changed: r.int64(), ctime: r.int64(), mtime: r.int64(), version: r.int32()}
	r.take(8) // versions of children and of the access list
	s.session = r.int64()
	r.take(16) // length, number of children, their newest zxid
	return s
}
