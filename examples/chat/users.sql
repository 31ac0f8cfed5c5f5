-- The users of the chat, for MariaDB and MySQL:
--
--     mariadb -u root -e "CREATE DATABASE chat CHARACTER SET utf8mb4"
--     mariadb -u root chat < users.sql
--
-- The collation is one that both know; MySQL's default, utf8mb4_0900_ai_ci, is unknown to MariaDB 10.
CREATE TABLE `users` (
     `id` int NOT NULL AUTO_INCREMENT,
     `name` varchar(255) NOT NULL,
     `email` varchar(255) NOT NULL,
     `password` varchar(255) NOT NULL,
     `online` tinyint NOT NULL DEFAULT '0',
     `created_at` timestamp NULL DEFAULT CURRENT_TIMESTAMP,
     `updated_at` timestamp NULL DEFAULT NULL,
     PRIMARY KEY (`id`),
     UNIQUE KEY `idx_n` (`name`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci;

-- Passwords are crypt(3) hashes; both users have 123456. Another one: mkpasswd -m yescrypt
INSERT INTO `users` (`id`, `name`, `email`, `password`) VALUES
     (1, 'user1', 'user1@example.com', '$y$j7T$zNnYlMBFvLYiaMz8bgrnR0$4LGUeuSKEYB0cjC/NWtNGgrXQ89YESRNdCnrAYgCQX9'),
     (2, 'user2', 'user2@example.com', '$y$j7T$QXn7KGJ86u/0UHqbuvrJP0$R4oGCE3ETuLeUy8EUNAFD5VrxqXyeB3m6v9BAHh4go6');
