package main

import (
	"net/http"
)

// A queue is where customers wait for an agent.
type queue struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Waiting     int    `json:"waiting"`
	AgentsReady int    `json:"agentsReady"`
}

// A queueAnswer is a queue, as Genesys tells of it.
type queueAnswer struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Statistics struct{ Waiting, AgentsReady int }
}

func (q queueAnswer) queue() queue {
	return queue{ID: q.ID, Name: q.Name, Waiting: q.Statistics.Waiting, AgentsReady: q.Statistics.AgentsReady}
}

const noQueue = "There is no such queue."

func (s *server) getQueue(w http.ResponseWriter, r *http.Request) error {
	id, err := idAlone(r)
	if err != nil {
		return err
	}
	var body struct{ Queue queueAnswer }
	if err := s.genesys.get(r.Context(), queuesPath+"/"+id, &body); err != nil {
		return unknown(err, noQueue)
	}
	return answer(w, body.Queue.queue())
}

func (s *server) getQueues(w http.ResponseWriter, r *http.Request) error {
	p := queryOf(r)
	p.need("waiting") // at least so many
	waiting := p.integer("waiting", 0, 0, 1_000_000)
	if err := p.end(); err != nil {
		return err
	}
	var body struct{ Queues []queueAnswer }
	if err := s.genesys.get(r.Context(), queuesPath, &body); err != nil {
		return err
	}
	var all []queue
	for _, q := range body.Queues {
		if q.Statistics.Waiting >= waiting {
			all = append(all, q.queue())
		}
	}
	return answerAll(w, "queues", all)
}
