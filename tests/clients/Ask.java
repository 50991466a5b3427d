// What tools on the JVM do with a database: list tables and columns, prepare, fetch in parts.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Instant;

public class Ask {
    public static void main(String[] arguments) throws SQLException {
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            list(connection);
            prepare(connection);
            fetch(connection);
            fail(connection);
        }
    }

    private static void list(Connection connection) throws SQLException {
        var about = connection.getMetaData();
        String[] kinds = {"TABLE", "VIEW"};
        try (ResultSet tables = about.getTables(null, "public", "%", kinds)) {
            while (tables.next()) {
                System.out.printf("table %s %s%n", tables.getString("TABLE_NAME"),
                        tables.getString("TABLE_TYPE"));
            }
        }
        try (ResultSet columns = about.getColumns(null, "public", "events", "%")) {
            while (columns.next()) {
                System.out.printf("column %s %s%n", columns.getString("COLUMN_NAME"),
                        columns.getString("TYPE_NAME"));
            }
        }
    }

    private static void prepare(Connection connection) throws SQLException {
        String sql = "SELECT name, response_code, event_time, truncated FROM events"
                + " WHERE name = ? AND response_code = ? AND event_time > ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            int rows = 0;
            // From the fifth time on the driver prepares on the server, and wants binary columns.
            for (int round = 0; round < 6; round++) {
                statement.setString(1, "c2");
                statement.setLong(2, 200);
                statement.setTimestamp(3, Timestamp.from(Instant.parse("2020-01-01T00:00:00Z")));
                try (ResultSet found = statement.executeQuery()) {
                    while (found.next()) {
                        rows++;
                        if (round == 0) {
                            System.out.printf("prepared %s %d%n", found.getString(1),
                                    found.getLong(2));
                        }
                        if (found.getTimestamp(3).getTime() < 1_700_000_000_000L
                                || found.getBoolean(4)) {
                            throw new SQLException("round " + round + ": " + found.getTimestamp(3));
                        }
                    }
                }
            }
            System.out.printf("again %d times%n", rows);
        }
    }

    private static void fetch(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(1000);
            int rows = 0;
            try (ResultSet found =
                    statement.executeQuery("SELECT value FROM generate_series(1, 100000)")) {
                while (found.next()) {
                    rows++;
                }
            }
            System.out.printf("fetched %d%n", rows);
        }
        connection.commit();
    }

    private static void fail(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.executeQuery("SELECT nmae FROM events");
        } catch (SQLException error) {
            System.out.printf("state %s%n", error.getSQLState());
        }
        connection.rollback();
        System.out.println("rolled back");
    }
}
