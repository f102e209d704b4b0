package alert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"

	"qsuper/config"
)

// sendEmail writes one letter. TLS is not given up in silence: without
// ?tls=none a server that does not offer it is an error.
func sendEmail(ctx context.Context, e *config.Email, l letter) error {
	m := mail.NewMsg()
	if err := errors.Join(m.From(e.From), m.To(e.To...)); err != nil {
		return permanent{err}
	}
	m.Subject(l.headline())
	m.SetDate()
	m.SetMessageID()
	m.SetBodyString(mail.TypeTextPlain, l.text())
	c, err := mailClient(ctx, e)
	if err != nil {
		return err
	}
	if err := c.DialAndSendWithContext(ctx, m); err != nil {
		return fmt.Errorf("send by mail: %w", err)
	}
	return nil
}

func mailClient(ctx context.Context, e *config.Email) (*mail.Client, error) {
	u, err := url.Parse(e.Server.Reveal())
	if err != nil {
		return nil, permanent{errors.New("the mail server's address cannot be used")}
	}
	limit := attemptLimit
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(d), time.Millisecond))
	}
	opts := []mail.Option{mail.WithTimeout(limit), mail.WithTLSPolicy(mail.TLSMandatory)}
	port := 587
	if u.Scheme == "smtps" {
		port, opts = 465, append(opts, mail.WithSSL())
	}
	if u.RawQuery == "tls=none" {
		port, opts = 25, append(opts, mail.WithTLSPolicy(mail.NoTLS))
	}
	if p, err := strconv.Atoi(u.Port()); err == nil {
		port = p
	}
	opts = append(opts, mail.WithPort(port))
	if u.User != nil {
		password, _ := u.User.Password()
		opts = append(opts, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(u.User.Username()), mail.WithPassword(password))
	}
	if e.CA != "" {
		pem, err := os.ReadFile(e.CA)
		if err != nil {
			return nil, fmt.Errorf("read the mail server's authority: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, permanent{fmt.Errorf("%s holds no certificate", e.CA)}
		}
		opts = append(opts, mail.WithTLSConfig(&tls.Config{RootCAs: pool, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}))
	}
	return mail.NewClient(u.Hostname(), opts...)
}
