package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"

	"github.com/loratool/loratool/train"
)

// metrics is the file of events, one JSON object a line.
type metrics struct{ *os.File }

// openMetrics begins the file, or keeps the lines of the steps that are done.
// These are cut off in place: they survive whenever the process is killed.
func openMetrics(path string, done int) (metrics, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return metrics{}, err
	}
	kept, err := keptMetrics(f, done)
	if err == nil {
		err = f.Truncate(kept)
	}
	if err == nil {
		_, err = f.Seek(kept, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return metrics{}, err
	}
	return metrics{f}, nil
}

// keptMetrics returns how many bytes the events of the first steps are. What a
// killed process has not written to the end is no event.
func keptMetrics(r io.Reader, done int) (n int64, err error) {
	if done == 0 {
		return 0, nil
	}
	old, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(old) {
		var e train.Event
		if !bytes.HasSuffix(line, []byte("\n")) || json.Unmarshal(line, &e) != nil || e.Step > done {
			break
		}
		n += int64(len(line))
	}
	return n, nil
}

func (m metrics) write(e train.Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = m.Write(append(b, '\n'))
	return err
}
