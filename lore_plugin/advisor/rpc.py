"""Questions and answers over portal's sockets, with little between them.

portal's own `Server` looks for work every tenth of a millisecond, hands each
request from the thread of the socket through two others and back, and packs
values as trees of arrays, as its `Client` does. For a line of text on a core
that both sides share, all this takes several times as long as the answer. So
`Server` calls its methods in the thread of the socket; what may take longer
they return as a function, for threads of their own.

  question   number (8 bytes), name of a method, line break, text
  answer     number (8 bytes), text

A message that is none, from either side, ends its connection and nothing else.
"""

import concurrent.futures
import contextlib
import itertools
import socket
import threading
import time

import portal
from portal import buffers

NUMBER = 8  # Bytes of the number that an answer shares with its question.
PATIENCE = 10.0  # Seconds that sending may take.


class Server:
  """Listens on a port.

  Args:
    port: Port.
    methods: Pairs of a function and its number of threads, by name. A function
      takes a text and returns one; or returns a function without arguments
      that does, which a thread then calls. Neither may raise.
    **kwargs: Options of portal's socket: `host`, `ipv6`, `handshake`, ...

  Raises:
    OSError: The port is taken.
  """

  def __init__(self, port, methods, **kwargs):
    self._methods = {name: fn for name, (fn, _) in methods.items()}
    self._pools = {
        name: concurrent.futures.ThreadPoolExecutor(workers, f'lore-{name}')
        for name, (_, workers) in methods.items()}
    self._socket = Listener(self._receive, port, 'LoRe', **kwargs)

  def _receive(self, addr, data):
    number = bytes(data[:NUMBER])
    name, _, text = bytes(data[NUMBER:]).decode('utf-8').partition('\n')
    out = self._methods[name](text)
    if callable(out):
      self._pools[name].submit(lambda: self._send(addr, number, out()))
    else:
      self._send(addr, number, out)

  def _send(self, addr, number, text):
    self._socket.send(addr, number, text.encode('utf-8', 'replace'))

  def close(self, timeout=5):
    """Stops listening, once what is being worked on is answered."""
    self._socket.shutdown()
    for pool in self._pools.values():
      pool.shutdown(wait=True, cancel_futures=True)
    self._socket.close(timeout)


class Listener(portal.ServerSocket):
  """portal's socket, which calls a function with each message.

  Args:
    receive: Called with the sender's address and the message. If it raises,
      the connection ends.
    *args, **kwargs: portal's.
  """

  def __init__(self, receive, *args, **kwargs):
    # Before portal's own, which starts the thread.
    self._receive = receive
    self._complete = threading.Event()
    try:
      super().__init__(*args, **kwargs)
    except OSError:
      self.sock.close()
      raise
    self._complete.set()

  def _recv(self, conn):
    self._complete.wait()
    try:
      super()._recv(conn)
      while not self.recvq.empty():
        self._receive(*self.recvq.get_nowait())
    except Exception as e:
      if conn.addr in self.conns:
        self._disconnect(conn, e)

  def _accept(self, sock):
    try:
      super()._accept(sock)
    except OSError as e:
      self._log(f'Could not accept a connection: {e}')
      # There may be too many; some will end.
      time.sleep(0.05)

  def _numsending(self):
    # A copy, as threads send while connections come and go.
    return sum(len(x.sendbufs) for x in list(self.conns.values()))


class Client:
  """Asks a `Server`. Safe to use from several threads.

  Args:
    host: Where it listens.
    port: Port.
    **kwargs: Options of portal's socket: `ipv6`, `handshake`, ...
  """

  def __init__(self, host, port, **kwargs):
    self._numbers = itertools.count()
    self._waiting = {}
    self._socket = Speaker(
        f'{host}:{port}', 'LoRe', start=False, autoconn=False, **kwargs)
    self._socket.callbacks_recv.append(self._receive)
    self._socket.callbacks_disc.append(self._lost)
    self._socket.start()

  def connect(self, timeout):
    """Returns whether there is a connection; waits for one so many seconds."""
    return self._socket.connected or self._socket.connect(timeout)

  def call(self, name, text, timeout):
    """Returns the answer to a question.

    Args:
      name: Name of a method.
      text: What is sent.
      timeout: Seconds to wait.

    Raises:
      TimeoutError: There was no answer in time.
      portal.Disconnected: There is no connection, or it was lost.
    """
    number = next(self._numbers).to_bytes(NUMBER, 'little')
    # A lock that is released once; an event would take longer than the server.
    lock, answer = threading.Lock(), []
    lock.acquire()
    self._waiting[number] = lock, answer
    try:
      self._socket.send(number, f'{name}\n{text}'.encode('utf-8', 'replace'))
      if not lock.acquire(timeout=timeout):
        raise TimeoutError
    finally:
      self._waiting.pop(number, None)
    if not answer:
      raise portal.Disconnected
    return bytes(answer[0][NUMBER:]).decode('utf-8')

  # An exception in one of these would end the process.

  def _receive(self, data):
    lock, answer = self._waiting.pop(bytes(data[:NUMBER]), (None, None))
    if lock:
      answer.append(data)
      lock.release()

  def _lost(self):
    while self._waiting:
      try:
        _, (lock, _) = self._waiting.popitem()
      except KeyError:
        return
      lock.release()

  def close(self, timeout=1):
    """Ends the connection."""
    self._socket.close(timeout)
    self._lost()


class Speaker(portal.ClientSocket):
  """portal's socket, with a thread that sleeps until something arrives.

  portal's own thread wakes up five thousand times a second, and when two
  messages were sent at once it never sleeps again: on a core that training
  needs, that was half of its speed. So this one waits for the socket alone,
  and who has something to say sends it.

  Another server than ours can't bring it down. What is no message ends the
  connection, where portal ends the process.
  """

  sock = None

  def __init__(self, *args, **kwargs):
    self._sending = threading.Lock()
    super().__init__(*args, **kwargs)

  def send(self, *data, timeout=None):
    """Sends a message.

    Raises:
      portal.Disconnected: There is no connection, or it took too long.
    """
    size = sum(map(len, data)).to_bytes(8, 'little')
    with self._sending:
      self.require_connection(timeout)
      try:
        self.sock.sendall(b''.join((size, *data)))
      except OSError as e:
        # Half a message may be out. The other thread cleans up.
        self._hang_up()
        raise portal.Disconnected from e

  def _connect(self):
    self.sock = super()._connect()
    if self.sock:
      self.sock.settimeout(PATIENCE)
    return self.sock

  def _loop(self):
    while self.running:
      if not self.wantconn.wait(PATIENCE) or not self._connect():
        continue
      self.wantconn.clear()
      self.isconn.set()
      try:
        self._listen()
      except Exception as e:
        self._log(f'Connection ended: {e!r}')
      self.isconn.clear()
      self.sock.close()
      for fn in self.callbacks_disc:
        fn()

  def _listen(self):
    message = None
    while self.running:
      message = message or buffers.RecvBuffer(self.options.max_msg_size)
      try:
        message.recv(self.sock)
      except TimeoutError:
        continue
      if message.done():
        for fn in self.callbacks_recv:
          fn(message.result())
        message = None

  def _hang_up(self):
    with contextlib.suppress(OSError):
      self.sock.shutdown(socket.SHUT_RDWR)

  def close(self, timeout=None):
    self.running = False
    self.wantconn.set()
    if self.sock:
      self._hang_up()
    super().close(timeout)
