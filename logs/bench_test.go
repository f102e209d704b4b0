package logs

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// One op is one write of a child; MB/s counts 10^6 bytes.
func BenchmarkCaptureLines16(b *testing.B)     { benchCapture(b, 16, 100, PrefixNone) }
func BenchmarkCaptureBlocks16(b *testing.B)    { benchCapture(b, 16, 64<<10, PrefixNone) }
func BenchmarkCaptureLines1(b *testing.B)      { benchCapture(b, 1, 100, PrefixNone) }
func BenchmarkCaptureBlocks1(b *testing.B)     { benchCapture(b, 1, 64<<10, PrefixNone) }
func BenchmarkCaptureLinesTime16(b *testing.B) { benchCapture(b, 16, 100, PrefixTime) }
func BenchmarkCaptureLinesJSON16(b *testing.B) { benchCapture(b, 16, 100, PrefixJSON) }

func benchCapture(b *testing.B, children, size int, prefix string) {
	dir := b.TempDir()
	if d := os.Getenv("LOGS_BENCH_DIR"); d != "" {
		dir = filepath.Join(d, "capture")
		defer os.RemoveAll(dir)
	}
	p := startPump(b, nil)
	each := b.N/children + 1
	var cs []*consumer
	var streams []*Stream
	for i := range children {
		c := newConsumer(b)
		s, err := p.Attach(c.read, Options{
			To: ToFile, Path: filepath.Join(dir, strconv.Itoa(i)+".log"),
			MaxSize: 10e6, Keep: 5, Prefix: prefix, Consumer: "bench", Slot: i,
		})
		check(b, err)
		c.start("bulk", size, each)
		cs, streams = append(cs, c), append(streams, s)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	before := ownCPU()
	b.ResetTimer()
	for _, c := range cs {
		c.run()
	}
	for _, c := range cs {
		c.wait()
	}
	for _, s := range streams {
		endRun(b, s)
	}
	b.StopTimer()
	var total uint64
	for _, s := range streams {
		st := s.Stats()
		total += st.Bytes
		if st.DroppedBytes > 0 || st.Degraded != "" {
			b.Fatalf("lost output: %+v", st)
		}
	}
	if want := uint64(children * each * size); total != want {
		b.Fatalf("%d bytes captured of %d", total, want)
	}
	b.ReportMetric((ownCPU()-before).Seconds()/(float64(total)/1e9), "cpu-s/GB")
}

func ownCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkFormatTime(b *testing.B) { benchFormat(b, PrefixTime) }
func BenchmarkFormatJSON(b *testing.B) { benchFormat(b, PrefixJSON) }

// One op is one line of 100 bytes.
func benchFormat(b *testing.B, prefix string) {
	s := &Stream{p: &Pump{}, o: Options{To: ToNone, Prefix: prefix, Consumer: "bench"}}
	text := bulk(100 * 655)
	s.format(text)
	b.SetBytes(100)
	b.ReportAllocs()
	b.ResetTimer()
	for n := b.N; n > 0; n -= 655 {
		s.format(text[:100*min(n, 655)])
	}
}
