package progress

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// fake returns a Reporter on a clock that the test moves.
func fake(w *bytes.Buffer, live bool) (r *Reporter, pass func(time.Duration)) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r = New(w, Plain)
	r.now = func() time.Time { return now }
	if live {
		r.live, r.every, r.width = true, liveEvery, func() int { return 40 }
	}
	return r, func(d time.Duration) { now = now.Add(d) }
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	r, pass := fake(&out, false)
	report := r.Start("merge")
	const total = 16_000_000_000
	report(0, total)
	for second := range int64(25) {
		pass(time.Second)
		report((second+1)*100_000_000, total)
	}
	r.Done()
	want := "merge    6 %  1.0 GB of 16.0 GB  100.0 MB/s  2:30 left\n" +
		"merge   12 %  2.0 GB of 16.0 GB  100.0 MB/s  2:20 left\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLive(t *testing.T) {
	var out bytes.Buffer
	r, pass := fake(&out, true)
	report := r.Start("copy")
	report(1, 10)
	pass(200 * time.Millisecond)
	report(5_000, 10_000)
	report(6_000, 10_000) // too soon
	pass(2 * time.Second)
	report(7_000, 10_000)
	r.Done()
	r.Done()
	want := "\rcopy   50 %  5.0 kB of 10.0 kB  25.0 kB\x1b[K" +
		"\rcopy   70 %  7.0 kB of 10.0 kB  3.2 kB/\x1b[K" +
		"\r\x1b[K"
	if got := out.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestUnknownTotal(t *testing.T) {
	var out bytes.Buffer
	r, pass := fake(&out, false)
	report := r.Start("read \x1b[2J")
	pass(10 * time.Second)
	report(20_000, 0)
	if got, want := out.String(), "\"read \\x1b[2J\"  20.0 kB  2.0 kB/s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSilent checks that nothing is written to a pipe by default, nor at all
// when off.
func TestSilent(t *testing.T) {
	for _, mode := range []Mode{Auto, Off} {
		var out bytes.Buffer
		r := New(&out, mode)
		report := r.Start("merge")
		r.next = time.Time{}
		report(1, 2)
		r.Done()
		if out.Len() > 0 {
			t.Errorf("mode %d wrote %q", mode, out.String())
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if r := New(null, Auto); r.live || !r.off {
		t.Error("the null device was taken for a terminal")
	}
}

func TestParseMode(t *testing.T) {
	for s, want := range map[string]Mode{"auto": Auto, "plain": Plain, "off": Off} {
		if got, err := ParseMode(s); got != want || err != nil {
			t.Errorf("ParseMode(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := ParseMode("fancy"); err == nil {
		t.Error("an unknown mode was accepted")
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", 187 * time.Second: "3:07",
		3723 * time.Second: "1:02:03", 59_600 * time.Millisecond: "1:00",
	} {
		if got := clock(d); got != want {
			t.Errorf("clock(%v) = %q, want %q", d, got, want)
		}
	}
}
