package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// A process is this program once more, in another role. It is told what to do on
// its standard input, and answers on its standard output. A server ends when its
// input does, and a load in time, so that neither outlives the one that started it.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func start(ctx context.Context, role string, spec any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self)}
	p.cmd.Env = append(os.Environ(), roleVar+"="+role)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(p.in).Encode(spec); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	return p, nil
}

// read waits for what the process says next.
func (p *process) read(v any) error {
	if err := p.out.Decode(v); err != nil {
		return errors.Join(fmt.Errorf("cannot read what process %d says: %w", p.cmd.Process.Pid, err), p.kill())
	}
	return nil
}

// end has the process come to its end, and waits for its last word.
func (p *process) end(v any) error {
	if err := p.in.Close(); err != nil {
		return errors.Join(err, p.kill())
	}
	if err := p.read(v); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// used is how much CPU time the process has used, when it has come to its end.
func (p *process) used() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// kill ends the process, whatever it does.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	var ended *exec.ExitError
	if e := p.cmd.Wait(); e != nil && !errors.As(e, &ended) {
		err = errors.Join(err, e)
	}
	return err
}
