// The only program of an image for pods of tests: it also is the program of their sandboxes, which waits for its end.
//
//	wait              until SIGTERM or SIGINT; also without a word
//	print TEXT...     to standard output
//	exit STATUS
//	get URL           print the answer; to the API server with the pod's service account
//	connect ADDRESS   a TCP connection
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	words := os.Args[1:]
	if len(words) == 0 {
		words = []string{"wait"}
	}
	switch argument := strings.Join(words[1:], " "); words[0] {
	case "wait":
		wait()
	case "print":
		fmt.Println(argument)
	case "exit":
		status, err := strconv.Atoi(argument)
		check(err)
		os.Exit(status)
	case "get":
		get(argument)
	case "connect":
		connection, err := net.DialTimeout("tcp", argument, 10*time.Second)
		check(err)
		fmt.Println("connected to", connection.RemoteAddr())
	default:
		check(fmt.Errorf("unknown command %q", words[0]))
	}
}

func wait() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	<-ends
}

func get(url string) {
	request, err := http.NewRequest("GET", url, nil)
	check(err)
	client := http.Client{Timeout: 20 * time.Second}
	if token, err := os.ReadFile(account + "token"); err == nil && strings.HasPrefix(url, "https:") {
		authority, err := os.ReadFile(account + "ca.crt")
		check(err)
		trusted := x509.NewCertPool()
		trusted.AppendCertsFromPEM(authority)
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
		request.Header.Set("Authorization", "Bearer "+string(token))
	}
	answer, err := client.Do(request)
	check(err)
	text, err := io.ReadAll(answer.Body)
	check(err)
	fmt.Println(answer.StatusCode)
	fmt.Println(string(text))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
