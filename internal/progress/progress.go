// Package progress shows how far a long operation is: one line that is
// rewritten on a terminal, a line of text every ten seconds elsewhere. Only
// the command makes a Reporter; libraries take a callback.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/loratool/loratool/internal/text"
)

// A Mode says how progress is shown.
type Mode uint8

// The modes of a Reporter.
const (
	Auto  Mode = iota // a rewritten line on a terminal, else nothing
	Plain             // a line of text every ten seconds
	Off               // nothing
)

// ParseMode reads the value of a --progress flag.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "auto":
		return Auto, nil
	case "plain":
		return Plain, nil
	case "off":
		return Off, nil
	}
	return Off, fmt.Errorf("progress mode %q: want auto, plain or off", s)
}

const (
	liveEvery  = 100 * time.Millisecond // fast enough to look alive, slow enough to read
	plainEvery = 10 * time.Second
	etaAfter   = time.Second // no forecast from the first moment's rate
)

// A Reporter shows the progress of one operation after another. It is safe for
// concurrent use.
type Reporter struct {
	w     io.Writer
	every time.Duration
	live  bool // the line is rewritten
	off   bool
	width func() int       // columns of the terminal
	now   func() time.Time // time.Now outside tests

	mu      sync.Mutex
	what    string
	start   time.Time
	next    time.Time // nothing is written before
	written bool      // a live line is on the screen
}

// New returns a Reporter that writes to w, which is live if it is a terminal.
func New(w io.Writer, mode Mode) *Reporter {
	r := &Reporter{w: w, every: plainEvery, off: mode == Off, now: time.Now}
	if f, ok := w.(*os.File); ok && mode == Auto && term.IsTerminal(int(f.Fd())) {
		r.live, r.every = true, liveEvery
		r.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width < 1 {
				return 80
			}
			return width
		}
	}
	if mode == Auto && !r.live {
		r.off = true
	}
	return r
}

// Start begins an operation, named as "merge" or "copy shard 2", and returns
// the callback that it reports to: done of total bytes. Calls are cheap; most
// write nothing. Done may be reported from several goroutines in any order.
func (r *Reporter) Start(what string) func(done, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
	r.what = text.Quote(what)
	r.start = r.now()
	r.next = r.start.Add(r.every)
	return r.update
}

// update shows the state if it is time.
func (r *Reporter) update(done, total int64) {
	r.Show(func(elapsed time.Duration) string { return r.line(done, total, elapsed) })
}

// Show shows a line of the caller's making if it is time: for operations that
// count other things than bytes. The line is told how long the operation
// takes so far.
func (r *Reporter) Show(text func(elapsed time.Duration) string) {
	if r.off {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Before(r.next) {
		return
	}
	r.next = now.Add(r.every)
	line := text(now.Sub(r.start))
	if !r.live {
		fmt.Fprintf(r.w, "%s\n", line)
		return
	}
	// Carriage return, text, erase to the end of the line (ECMA-48 EL). The
	// last column stays free: some terminals wrap there.
	fmt.Fprintf(r.w, "\r%s\x1b[K", cut(line, r.width()-1))
	r.written = true
}

// Done ends the operation and takes its line off the terminal, so that what is
// printed next starts on a clean one.
func (r *Reporter) Done() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
}

func (r *Reporter) clear() {
	if r.written {
		io.WriteString(r.w, "\r\x1b[K")
		r.written = false
	}
}

// line says what, how much, how fast and how long still.
func (r *Reporter) line(done, total int64, elapsed time.Duration) string {
	parts := []string{r.what}
	if total > 0 {
		share := min(1, float64(done)/float64(total))
		parts = append(parts, fmt.Sprintf("%3d %%", int(share*100)))
		parts = append(parts, text.Bytes(done)+" of "+text.Bytes(total))
	} else {
		parts = append(parts, text.Bytes(done))
	}
	rate := float64(done) / elapsed.Seconds()
	if elapsed > 0 && done > 0 {
		parts = append(parts, text.Bytes(int64(rate))+"/s")
	}
	if left := Left(done, total, elapsed); left != "" {
		parts = append(parts, left)
	}
	return strings.Join(parts, "  ")
}

// Left forecasts the rest of an operation of which done of total took elapsed:
// "3:07 left", or "" if it is too early or too late for it.
func Left(done, total int64, elapsed time.Duration) string {
	if elapsed < etaAfter || done <= 0 || done >= total {
		return ""
	}
	return clock(time.Duration(float64(total-done)/float64(done)*float64(elapsed))) + " left"
}

// clock formats a time as 5 s, 3:07 or 1:02:03.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// cut returns at most width characters of a line.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(0, width)])
}
