// A TLS server that sends back what it gets: Echo PORT STORE. The store's password is "secret".
import java.io.FileInputStream;
import java.net.InetAddress;
import java.security.KeyStore;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

public final class Echo {
    public static void main(String[] arguments) throws Exception {
        char[] password = "secret".toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(arguments[1])) {
            store.load(file, password);
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(store, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        int port = Integer.parseInt(arguments[0]);
        InetAddress address = InetAddress.getByName("127.0.0.1");
        SSLServerSocket server =
                (SSLServerSocket) context.getServerSocketFactory().createServerSocket(port, 50, address);
        while (true) {
            SSLSocket socket = (SSLSocket) server.accept();
            Thread thread = new Thread(() -> echo(socket));
            thread.setDaemon(true);
            thread.start();
        }
    }

    private static void echo(SSLSocket socket) {
        byte[] bytes = new byte[16_384];
        try (socket) {
            int n;
            while ((n = socket.getInputStream().read(bytes)) > 0) {
                socket.getOutputStream().write(bytes, 0, n);
            }
        } catch (java.io.IOException error) {
            // The client is gone.
        }
    }
}
