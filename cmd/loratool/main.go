// Command loratool merges, inspects and checks LoRA adapters.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := withSignals(context.Background())
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// An interruption is the cause of a context that a signal ended.
type interruption struct{ signal os.Signal }

func (i interruption) Error() string { return "interrupted by " + i.signal.String() }

// withSignals returns a context that SIGINT and SIGTERM end. A second signal
// ends the process at once.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s, ok := <-signals
		if !ok {
			return
		}
		cancel(interruption{s})
		if s, ok = <-signals; ok {
			os.Exit(signalExit(s))
		}
	}()
	return ctx, func() { signal.Stop(signals); close(signals) }
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	results := &results{Writer: stdout}
	cmd := newRootCmd(results, stderr)
	cmd.SetArgs(args)
	cmd.SetIn(interruptible{ctx, stdin})
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		err = results.err
	}
	return report(ctx, stderr, err)
}
